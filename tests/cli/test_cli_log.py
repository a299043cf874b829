"""What is said on stderr may be lost: the run that says it goes on, and its result is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dgdd_cli.bundle.read import load_bundle


@contextmanager
def nobody() -> Iterator[int]:
    """A pipe whose reader has gone away."""
    read, write = os.pipe()
    os.close(read)
    try:
        yield write
    finally:
        os.close(write)


def command(folder: Path, out: Path) -> list[str]:
    budget = ["--method", "random", "--ipc", "1", "--image-size", "8"]
    said = ["--progress", "plain", "--json", "--out", str(out)]
    return [sys.executable, "-m", "dgdd_cli", "distill", str(folder), "--target", "cyan", *budget, *said]


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "DGDD_CACHE": str(tmp_path / "cache")}


@pytest.mark.parametrize("where", ["reader gone", "disk full", "closed"])
def test_a_log_that_cannot_be_written_costs_no_run(shapes_folder, tmp_path, where):
    if where == "disk full" and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    out = tmp_path / "b.safetensors"
    words = command(shapes_folder, out)
    with nobody() as gone, open("/dev/full" if where == "disk full" else os.devnull, "w") as full:
        if where == "closed":
            words = ["sh", "-c", '"$@" 2>&-', "sh", *words]
        stderr = gone if where == "reader gone" else full
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=stderr, env=environment(tmp_path), timeout=240)
    assert done.returncode == 0
    assert json.loads(done.stdout)["id"] == load_bundle(out).manifest.id


def test_where_stdout_is_lost_too_the_work_is_kept_and_that_is_an_error(shapes_folder, tmp_path):
    out = tmp_path / "b.safetensors"
    with nobody() as gone:
        done = subprocess.run(
            command(shapes_folder, out), stdout=gone, stderr=gone, env=environment(tmp_path), timeout=240
        )
    assert done.returncode == 141
    assert load_bundle(out).manifest.images.ipc == 1


@pytest.mark.parametrize("more", [[], ["--debug"]])
def test_an_error_that_nobody_hears_keeps_its_code(tmp_path, more):
    words = [sys.executable, "-m", "dgdd_cli", "inspect", str(tmp_path / "nothing.safetensors"), *more]
    with nobody() as gone:
        assert subprocess.run(words, stderr=gone, env=environment(tmp_path), timeout=240).returncode == 3


def test_a_current_folder_that_was_deleted_is_told(tmp_path):
    words = ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && "$@"', "sh", str(tmp_path / "gone"), sys.executable]
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        [*words, "-m", "dgdd_cli", "distill", "digits", "--out", str(tmp_path / "b")],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=240,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the current folder was deleted\nhint: cd ")
