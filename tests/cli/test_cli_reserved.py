"""One output, one run: the name is held from the start, and finished work is never lost at the end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.errors import UsageError
from dgdd_cli.storage.reserve import reserved

HOLD = """
import sys
from pathlib import Path
from dgdd_cli.storage.reserve import reserved
with reserved(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGDD_DATA", raising=False)


def selection(folder: Path, out: Path, *more: str) -> list[str]:
    """A run that takes no time: it selects real images."""
    budget = ["--method", "random", "--ipc", "1", "--image-size", "8", "--progress", "none"]
    return ["distill", str(folder), "--target", "cyan", "--out", str(out), *budget, *more]


def clusters(folder: Path, out: Path, *more: str) -> list[str]:
    return ["cluster", str(folder), "--groups", "2", "--image-size", "8", "--out", str(out), *more]


def beside(out: Path) -> list[str]:
    """The files in the folder of an output, without the cache and the data."""
    return sorted(entry.name for entry in out.parent.iterdir() if entry.is_file())


@contextlib.contextmanager
def holder(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the name of an output."""
    command = [sys.executable, "-c", HOLD, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_run_is_refused_at_once_and_leaves_the_checkpoint_of_the_first(shapes_folder, tmp_path, capsys):
    """The first one is stopped in its steps: alive, and doing nothing."""
    out, checkpoint = tmp_path / "b.safetensors", tmp_path / "b.safetensors.checkpoint"
    arguments = ["--target", "cyan", "--out", str(out), "--image-size", "8", "--ipc", "1", "--checkpoint-every", "0"]
    settings = ["--method", "dm", "--set", "probes.width=4", "--probes", "bank:1", "--steps", "60"]
    command = ["distill", str(shapes_folder), *arguments, *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(
        [sys.executable, "-m", "dgdd_cli", *command, "--seed", "1"], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert first.stderr is not None
    try:
        for _ in first.stderr:
            if checkpoint.exists():
                break
        first.send_signal(signal.SIGSTOP)
        kept = checkpoint.read_bytes()
        for seed, more in (("2", []), ("1", ["--resume"]), ("2", ["--force"]), ("1", ["--resume", "--force"])):
            assert run([*command, "--seed", seed, "--progress", "none", *more]) == 2, more
            said = capsys.readouterr()
            assert said.out == ""
            assert f"alive (process {first.pid}" in said.err
            assert checkpoint.read_bytes() == kept
            assert not out.exists()
    finally:
        first.send_signal(signal.SIGCONT)
    _, told = first.communicate(timeout=120)
    assert first.returncode == 0, told
    assert load_bundle(out).manifest.seed == 1
    assert beside(out) == ["b.safetensors"]


@pytest.mark.parametrize("verb", [selection, clusters])
@pytest.mark.parametrize("more", [[], ["--force"]])
def test_the_name_is_held_through_links_and_by_other_verbs(shapes_folder, tmp_path, capsys, verb, more):
    out, link = tmp_path / "b.safetensors", tmp_path / "latest.safetensors"
    link.symlink_to(out.name)
    with holder(out) as process:
        process.send_signal(signal.SIGSTOP)
        assert run(verb(shapes_folder, link, *more)) == 2
        assert f"process {process.pid}" in capsys.readouterr().err
        hint = f"--out {tmp_path / 'latest-2.safetensors'}"
        assert run(verb(shapes_folder, link, *more)) == 2
        assert hint in capsys.readouterr().err
        process.send_signal(signal.SIGCONT)
    assert not out.exists()


def test_it_is_refused_before_data_is_read(shapes_folder, tmp_path, capsys):
    for image in shapes_folder.rglob("pic_000.*"):
        image.write_bytes(b"not an image")
    out = tmp_path / "b.safetensors"
    with holder(out):
        for verb in (selection, clusters):
            assert run(verb(shapes_folder, out)) == 2
            assert "alive" in capsys.readouterr().err


def test_a_killed_holder_holds_nothing(shapes_folder, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    with holder(out):
        pass
    assert beside(out) == ["b.safetensors.running"]
    assert run(selection(shapes_folder, out)) == 0
    assert capsys.readouterr().err.count("warning") == 0
    assert beside(out) == ["b.safetensors"]


def test_a_run_that_fails_leaves_nothing_either(shapes_folder, tmp_path):
    out = tmp_path / "b.safetensors"
    assert run(selection(shapes_folder, out, "--ipc", "1000")) == 2
    assert beside(out) == []


def test_whoever_opened_the_lock_of_a_run_that_ends_takes_a_new_one(tmp_path, monkeypatch):
    out, lock = tmp_path / "b", tmp_path / "b.running"
    real, tries = fcntl.flock, []

    def after_its_end(handle: int, operation: int) -> None:
        if not tries:
            lock.unlink()
        tries.append(handle)
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", after_its_end)
    with reserved(out):
        assert len(tries) == 2
        monkeypatch.setattr(fcntl, "flock", real)
        with pytest.raises(UsageError, match=f"alive \\(process {os.getpid()} on "), reserved(out):
            pytest.fail("it was held twice")
    assert list(tmp_path.iterdir()) == []


def test_without_locks_the_run_goes_on_and_says_so(shapes_folder, tmp_path, monkeypatch, capsys):
    def none(handle: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", none)
    out = tmp_path / "b.safetensors"
    assert run(selection(shapes_folder, out)) == 0
    assert "warning: " in (said := capsys.readouterr().err)
    assert "would not be noticed" in said
    assert beside(out) == ["b.safetensors"]


def test_a_file_of_somebody_else_is_no_lock(shapes_folder, tmp_path, capsys):
    out, theirs = tmp_path / "b.safetensors", tmp_path / "b.safetensors.running"
    theirs.write_text("another program's")
    assert run(selection(shapes_folder, out)) == 0
    assert "would not be noticed" in capsys.readouterr().err
    assert theirs.read_text() == "another program's"
    theirs.unlink()
    os.mkfifo(theirs)
    assert run(selection(shapes_folder, out, "--force")) == 0
    assert theirs.is_fifo()


def test_the_longest_name_can_be_held(tmp_path):
    out = tmp_path / ("é" * 127)
    with reserved(out), pytest.raises(UsageError, match="alive"), reserved(out):
        pytest.fail("it was held twice")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def meanwhile(monkeypatch):
    """Do something while a verb works."""
    from dgdd_cli.api import cluster as clustering
    from dgdd_cli.engine import run as engine

    def happens(what) -> None:
        for module, name in ((engine, "distill"), (clustering, "group_dataset")):
            work = getattr(module, name)

            def interrupted(*arguments, work=work, **named):
                what()
                return work(*arguments, **named)

            monkeypatch.setattr(module, name, interrupted)

    return happens


@pytest.mark.parametrize("verb", [selection, clusters])
@pytest.mark.parametrize("force", [False, True])
def test_a_name_that_is_taken_meanwhile_costs_nobody_his_work(shapes_folder, tmp_path, capsys, meanwhile, verb, force):
    """With --force too: what is to be overwritten lay there when the run began."""
    out, other = tmp_path / "b.safetensors", tmp_path / "b-2.safetensors"
    other.write_text("other")
    if force:
        out.write_text("old")
    meanwhile(lambda: out.write_text("theirs, which is longer"))
    assert run(verb(shapes_folder, out, "--json", *["--force"] * force)) == 0
    said = capsys.readouterr()
    written = tmp_path / "b-3.safetensors"
    document = json.loads(said.out)
    assert document.get("bundle", document.get("groups_file")) == str(written)
    assert f"warning: {out} was taken meanwhile" in said.err
    assert said.err.strip().splitlines()[-1].startswith("hint: dgdd ")
    assert str(written) in said.err.strip().splitlines()[-1]
    assert out.read_text() == "theirs, which is longer"
    assert other.read_text() == "other"
    assert run(["inspect", str(written), "--verify", "-q"]) == 0


@pytest.mark.parametrize("verb", [selection, clusters])
def test_a_place_that_is_gone_costs_no_work_either(shapes_folder, tmp_path, monkeypatch, capsys, meanwhile, verb):
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    meanwhile(lambda: shutil.rmtree(place))
    assert run(verb(shapes_folder, place / "b.safetensors", "-q")) == 1
    said = capsys.readouterr()
    (found,) = re.findall(r"the result lies in (\S+)", said.err)
    assert Path(found).is_relative_to(elsewhere)
    assert f"hint: mv {found} {place / 'b.safetensors'}" in said.err
    assert run(["inspect", found, "--verify", "-q"]) == 0


def test_a_link_that_is_changed_meanwhile_changes_nothing(tmp_path):
    """The file that is locked is the one that is written."""
    link, first, second = tmp_path / "link", tmp_path / "first", tmp_path / "second"
    link.symlink_to(first)

    def write(path: Path, overwrite: bool) -> None:
        path.write_text("the result")

    with reserved(link) as reservation:
        link.unlink()
        link.symlink_to(second)
        assert reservation.write(write, overwrite=True)[0] == link
    assert first.read_text() == "the result"
    assert not second.exists()
