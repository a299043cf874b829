"""A method from outside the package: one file (doors_drift.py) and one entry in METHODS."""

from __future__ import annotations

import pytest
import torch
from doors_drift import DRIFT, SHIFT

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.config import Recipe, validate
from dgdd_cli.engine.checkpoint import save_checkpoint
from dgdd_cli.engine.distill import distill
from dgdd_cli.errors import Interrupted, UnknownName
from dgdd_cli.methods import METHODS
from dgdd_cli.methods.complete import complete
from dgdd_cli.runtime.context import Context

CPU = torch.device("cpu")


def recipe(name: str = "drift") -> Recipe:
    tables = {"matching": {"name": name}, "probes": {}, "optimiser": {"steps": 9, "image_rate": 5.0, "decay": "none"}}
    return complete(validate(Recipe, tables), "shapes")


@pytest.fixture(autouse=True)
def _entry(monkeypatch):
    monkeypatch.setitem(METHODS, "drift", DRIFT)


def test_it_makes_the_steps_of_a_run(shapes):
    dataset = shapes()
    made = distill(Context(seed=0), dataset, recipe(), ipc=2)
    mean = dataset.images[dataset.labels == 0].float().mean(0)
    assert (made.images[made.labels == 0].float() - mean).abs().max() < 8


def test_a_run_is_kept_where_it_says_that_it_can_be_taken_up(shapes):
    kept = []

    def interrupt(stage, done, total, figures=None):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        distill(Context(seed=0, progress=interrupt), shapes(), recipe(), ipc=2, keep=kept.append)
    assert kept[-1].step == 4
    resumed = distill(Context(seed=0), shapes(), recipe(), ipc=2, state=kept[-1])
    assert torch.equal(resumed.images, distill(Context(seed=0), shapes(), recipe(), ipc=2).images)


def test_tensors_of_its_own_are_in_the_checkpoint_and_not_in_the_bundle(shapes_folder, tmp_path, monkeypatch, capsys):
    """At the command line: a run that is interrupted between any two steps resumes to the identical file."""
    monkeypatch.setitem(METHODS, "shift", SHIFT)
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))

    def distil(out, *more):
        where = ["--target", "cyan", "--out", str(out), "--progress", "none", "--ipc", "2", "--image-size", "8"]
        method = ["--method", "dm", "--set", "matching.name=shift", "--steps", "7", "--set", "optimiser.image_rate=1"]
        return run(["distill", str(shapes_folder), *where, *method, *more])

    whole, resumed, checkpoint = (tmp_path / name for name in ("a", "b", "b.checkpoint"))
    assert distil(whole) == 0
    assert set(load_bundle(whole).tensors) == {"images", "labels", "domains"}

    def save(path, state, identity):
        save_checkpoint(path, state, identity)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dgdd_cli.engine.run.save_checkpoint", save)
        for more in ([], *[["--resume"]] * 5):
            assert distil(resumed, "--checkpoint-every", "0", *more) == 130
            assert b"tensor.offset" in checkpoint.read_bytes()
    capsys.readouterr()
    assert distil(resumed, "--set", "matching.name=dm", "--resume") == 2
    assert "matching.name was shift, now dm" in " ".join(capsys.readouterr().err.split())
    assert distil(resumed, "--resume") == 0
    assert whole.read_bytes() == resumed.read_bytes()


def test_a_name_that_nobody_registered_is_refused_with_the_near_one():
    with pytest.raises(UnknownName) as caught:
        recipe("drifd")
    assert "'drift'" in (caught.value.hint or "")
