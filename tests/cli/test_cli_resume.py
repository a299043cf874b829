"""`--resume`: of an interrupted run, of another one, of a damaged checkpoint, of a run that is finished."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.engine.checkpoint import save_checkpoint
from dgdd_cli.errors import DgddError

BUDGET = ["--method", "sgs", "--ipc", "2", "--image-size", "8", "--steps", "4", "--checkpoint-every", "0"]
QUICK = ["--target", "cyan", "--set", "probes.width=4", "--probes", "bank:1", "--progress", "none"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGDD_DATA", raising=False)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "b.safetensors"


@pytest.fixture
def checkpoint(out) -> Path:
    return out.with_name("b.safetensors.checkpoint")


@pytest.fixture
def distil(shapes_folder, out):
    def call(*more: str) -> int:
        return run(["distill", str(shapes_folder), "--out", str(out), *BUDGET, *QUICK, *more])

    return call


def interrupt_after_two_steps(distil, *more: str) -> None:
    """Ctrl-C as soon as the checkpoint of the second step is written."""
    seen = []

    def save(path, state, identity):
        save_checkpoint(path, state, identity)
        seen.append(state.step)
        if seen == [1, 2]:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dgdd_cli.engine.run.save_checkpoint", save)
        assert distil(*more) == 130


@pytest.fixture
def interrupted(distil, checkpoint, capsys):
    """A checkpoint after two steps of the run."""
    interrupt_after_two_steps(distil)
    assert checkpoint.exists()
    capsys.readouterr()
    return checkpoint


def refused(capsys) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


def test_a_flipped_bit_is_refused(distil, interrupted, out, capsys):
    data = bytearray(interrupted.read_bytes())
    data[-500] ^= 255
    interrupted.write_bytes(data)
    assert distil("--resume") == 3
    said = refused(capsys)
    assert "its sha256 differs" in said
    assert "--force" in said
    assert interrupted.read_bytes() == data
    assert not out.exists()
    assert distil("--force") == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--seed", "9"], "seed was 0, now 9\n"),
        (["--steps", "5"], "optimiser.steps was 4, now 5\n"),
        (["--set", "surgery.power=2"], "surgery.power was 1.0, now 2.0\n"),
        (["--method", "dm"], "method was sgs, now dm"),
        (["--ipc", "1", "--seed", "3"], "ipc was 2, now 1; seed was 0, now 3\n"),
        (["--risk", "cvar"], "risk.name was not given, now cvar"),
    ],
)
def test_the_settings_that_differ_are_named(distil, interrupted, capsys, change, words):
    assert distil("--resume", *change) == 2
    said = refused(capsys)
    assert words in said
    assert "the data differ" not in said


def test_other_data_are_named_as_such(distil, interrupted, shapes_folder, capsys):
    (shapes_folder / "amber" / "box" / "pic_000.jpg").unlink()
    assert distil("--resume") == 2
    assert "belongs to another run: the data differ\n" in refused(capsys)


@pytest.mark.parametrize("other", ["torch", "dgdd", "threads", "processor", "kernels"])
def test_what_decides_the_numbers_beside_the_settings_is_named(distil, interrupted, monkeypatch, capsys, other):
    import dgdd_cli
    from dgdd_cli.engine import identity

    if other == "torch":
        monkeypatch.setattr(torch, "__version__", "9.9.9")
    elif other == "dgdd":
        monkeypatch.setattr(dgdd_cli, "__version__", "9.9.9")
    elif other == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    elif other == "processor":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "abacus")
    else:
        monkeypatch.setattr(identity, "choose", lambda *arguments: "triton")
    assert distil("--resume") == 2
    assert f"belongs to another run: {other} was " in refused(capsys)


def test_the_library_that_clusters_is_named_where_it_decides(out, shapes_folder, monkeypatch, capsys):
    """scikit-learn's K-means picks the representatives that rdd matches."""
    line = ["distill", str(shapes_folder), "--out", str(out), "--method", "rdd", "--ipc", "1", "--image-size", "8"]
    line += ["--steps", "20", "--groups", "domain", "--checkpoint-every", "0", "--target", "cyan"]
    line += ["--set", "probes.width=4", "--progress", "none"]

    def save(path, state, identity):
        save_checkpoint(path, state, identity)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dgdd_cli.engine.run.save_checkpoint", save)
        assert run(line) == 130
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9.9.9" if name == "scikit-learn" else version(name))
    assert run([*line, "--resume"]) == 2
    assert "belongs to another run: scikit-learn was " in refused(capsys)


def test_a_moved_folder_of_the_same_name_is_the_same_data(interrupted, shapes_folder, tmp_path, out, capsys):
    elsewhere = tmp_path / "elsewhere" / shapes_folder.name
    elsewhere.parent.mkdir()
    shapes_folder.rename(elsewhere)
    assert run(["distill", str(elsewhere), "--out", str(out), *BUDGET, *QUICK, "--resume"]) == 0
    assert "resuming from step 2" in capsys.readouterr().err


def test_a_finished_run_is_finished(distil, out, checkpoint, capsys):
    """As a queue that starts a job again sees it: the same document, the same file, no work."""
    assert distil("--json") == 0
    first = json.loads(capsys.readouterr().out)
    before = (out.read_bytes(), out.stat().st_mtime_ns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dgdd_cli.engine.run.distill", lambda *a, **k: pytest.fail("it works again"))
        for more in (["--json"], ["--json", "--force"]):
            assert distil("--resume", *more) == 0
            said = capsys.readouterr()
            assert f"{out} is already finished" in said.err
            document = json.loads(said.out)
            assert document | {"peak_memory_bytes": 0} == first | {"peak_memory_bytes": 0}
        assert distil("--resume", "-q") == 0
        assert capsys.readouterr().out == f"{out}\n"
    assert (out.read_bytes(), out.stat().st_mtime_ns) == before
    assert sorted(p.name for p in out.parent.iterdir()) == ["b.safetensors", "cache", "shapes"]


def test_a_checkpoint_that_outlived_its_run_goes(distil, interrupted, out, capsys):
    kept = interrupted.read_bytes()
    assert distil("--resume") == 0
    interrupted.write_bytes(kept)  # as after a crash between the two
    assert distil("--resume") == 0
    assert "already finished" in capsys.readouterr().err
    assert not interrupted.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--seed", "9"], "seed was 0, now 9\n"),
        (["--steps", "5"], "optimiser.steps was 4, now 5\n"),
        (["--ipc", "1"], "ipc was 2, now 1\n"),
        (["--method", "dm"], "method was sgs, now dm"),
    ],
)
def test_a_bundle_of_another_run_is_left_alone(distil, out, capsys, change, words):
    assert distil() == 0
    before = out.read_bytes()
    capsys.readouterr()
    assert distil("--resume", *change) == 2
    said = refused(capsys)
    assert f"{out} exists already and is the result of another run: {words}" in said
    assert "--force" in said
    assert out.read_bytes() == before
    assert distil("--resume", "--force", *change) == 0
    assert out.read_bytes() != before


def test_a_bundle_of_other_data_is_left_alone(distil, out, shapes_folder, capsys):
    assert distil() == 0
    capsys.readouterr()
    (shapes_folder / "amber" / "box" / "pic_000.jpg").unlink()
    assert distil("--resume") == 2
    assert "result of another run: the data differ\n" in refused(capsys)


def test_a_file_that_is_no_bundle_is_not_finished(distil, out, capsys):
    out.write_text("precious")
    assert distil("--resume") == 2
    assert "is no bundle" in refused(capsys)
    assert out.read_text() == "precious"


def test_finished_with_other_software_is_finished_and_said(distil, out, monkeypatch, capsys):
    assert distil() == 0
    capsys.readouterr()
    from dgdd_cli.engine import describe

    monkeypatch.setattr(describe, "software", lambda: load_bundle(out).manifest.software | {"torch": "9.9.9"})
    assert distil("--resume") == 0
    said = capsys.readouterr().err
    assert "torch was " in said
    assert "already finished" in said


def test_a_forced_run_over_an_older_bundle_resumes(distil, out, checkpoint, capsys):
    """The older bundle is even the very same; what was begun is continued all the same."""
    assert distil() == 0
    whole = out.read_bytes()
    interrupt_after_two_steps(distil, "--force")
    assert checkpoint.exists()
    capsys.readouterr()
    assert distil("--force", "--resume") == 0
    assert "resuming from step 2" in capsys.readouterr().err
    assert out.read_bytes() == whole
    assert not checkpoint.exists()


def test_a_terminal_that_closes_leaves_the_checkpoint(shapes_folder, out, checkpoint):
    """The controlling terminal hangs up: SIGHUP, and nobody can be told anything any more."""
    command = [sys.executable, "-m", "dgdd_cli", "distill", str(shapes_folder), "--out", str(out), *BUDGET, *QUICK]
    keeping = ["--steps", "3000", "--checkpoint-every", "1000", "--progress", "plain"]
    lead = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-c", lead, *command, *keeping],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    os.close(theirs)
    said = b""
    while b"distil " not in said:  # its first tenth
        said += os.read(ours, 1000)
    os.close(ours)
    assert running.wait(timeout=120) == 129
    assert checkpoint.exists()
    assert sorted(p.name for p in out.parent.iterdir() if p.is_file()) == [checkpoint.name]


def test_a_folder_for_checkpoints_that_went_away_is_told_once(distil, monkeypatch, capsys):
    def save(path, state, identity):
        raise DgddError(f"cannot write {path}: No such file or directory")

    monkeypatch.setattr("dgdd_cli.engine.run.save_checkpoint", save)
    assert distil() == 0
    assert capsys.readouterr().err.count("no checkpoint at step") == 1
