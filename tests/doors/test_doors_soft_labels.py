"""A bundle of soft labels, of pixels or of tiles, is evaluated: each training image is taught its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.manifest import BundleFacts
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.evaluation.trainers import TRAINERS
from dgdd_cli.evaluation.trainers.erm import erm_loss
from dgdd_cli.evaluation.trainers.trainer import Trainer
from dgdd_cli.synthesis.pixels import to_unit
from dgdd_cli.synthesis.tiles import Tiles

KINDS = ("probability", "regression")


@pytest.fixture(autouse=True)
def entry(monkeypatch, tmp_path):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bundle(shapes_folder, tmp_path, capsys) -> Path:
    out = tmp_path / "hard.safetensors"
    made = ["--target", "cyan", "--ipc", "4", "--image-size", "16", "--method", "balanced-random"]
    assert run(["distill", str(shapes_folder), *made, "--out", str(out), "-q"]) == 0
    capsys.readouterr()
    return out


def soft(bundle: Path, kind: str, *, sharp: float = 0.5, tiled: bool = False) -> Path:
    """The images of a bundle with soft labels; tiled, four of them in each stored image."""
    own, path = load_bundle(bundle), bundle.with_name(f"{kind}-{sharp}-{tiled}.safetensors")
    values = sharp * torch.nn.functional.one_hot(own.labels, 3).float() + (1 - sharp) / 3
    values = values if kind == "probability" else values - 1 / 3
    facts = {name: getattr(own.manifest, name) for name in BundleFacts.model_fields} | {"label_kind": kind}
    stored, rows = {"images": own.images}, torch.arange(len(own))
    if tiled:
        found = Tiles(2, 16)
        facts["synthesis"], rows = {"name": "tiles", "factor": 2}, rows[::4]
        stored = found.store(found.encode(to_unit(own.images)))
    tensors = {**stored, "labels": own.labels[rows], "domains": torch.full_like(rows, -1), "soft_labels": values}
    write_bundle(path, tensors, BundleFacts.model_validate(facts))
    return path


def evaluated(path: Path, folder: Path, capsys, *more: str) -> dict:
    asked = ["--dataset", str(folder), "--epochs", "30", "--set", "width=8", "--set", "rate=0.05", "--repeats", "1"]
    assert run(["evaluate", str(path), *asked, "--json", "--progress", "none", *more]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_them(bundle, shapes_folder, capsys, kind):
    hard = evaluated(bundle, shapes_folder, capsys, "--target", "amber")
    found = evaluated(soft(bundle, kind), shapes_folder, capsys, "--target", "amber")
    assert found["accuracy"]["mean"] > 0.6
    assert found["loss_cvar"]["mean"] != hard["loss_cvar"]["mean"]
    assert found["training_images"] == hard["training_images"] == 12
    assert (found["label_kind"], hard["label_kind"]) == (kind, "hard")


def test_one_hot_probabilities_score_as_classes_do(bundle, shapes_folder, capsys):
    hard = evaluated(bundle, shapes_folder, capsys)
    found = evaluated(soft(bundle, "probability", sharp=1.0), shapes_folder, capsys)
    assert found["accuracy"]["mean"] == pytest.approx(hard["accuracy"]["mean"], abs=0.1)
    assert found["loss_cvar"]["mean"] == pytest.approx(hard["loss_cvar"]["mean"], rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_every_tile_is_a_training_image_with_its_own_label(bundle, shapes_folder, capsys, kind):
    path = soft(bundle, kind, tiled=True)
    assert len(load_bundle(path)) == 3
    found = evaluated(path, shapes_folder, capsys, "--target", "amber")
    assert found["training_images"] == 12
    assert found["accuracy"]["mean"] > 0.5


def test_a_trainer_that_knows_classes_alone_refuses_them_by_name(bundle, shapes_folder, capsys, monkeypatch):
    monkeypatch.setitem(TRAINERS, "classes", Trainer(erm_loss, labels=("hard",)))
    path = soft(bundle, "probability")
    assert run(["evaluate", str(path), "--dataset", str(shapes_folder), "--trainer", "classes"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the trainer 'classes' cannot use probability labels" in said
    assert "--trainer erm" in said
