"""Soft labels from outside the package: one file (doors_nearest.py) and one entry in LABELLERS."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from doors_nearest import centred, nearest

from dgdd_cli import DistilledSet, load_bundle
from dgdd_cli.__main__ import run
from dgdd_cli.runtime.context import Context
from dgdd_cli.synthesis.labelling import LABELLERS, label
from dgdd_cli.synthesis.labels import Labels
from dgdd_cli.synthesis.pixels import to_unit

Capture = pytest.CaptureFixture[str]
SOFT = ["--set", "labels.name=nearest", "--set", "labels.temperature=2.5"]
CENTRED = ["--set", "labels.name=centred"]
TILES = ["--set", "synthesis.name=tiles", "--set", "synthesis.factor=2"]


@pytest.fixture(autouse=True)
def _entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(LABELLERS, "nearest", nearest)
    monkeypatch.setitem(LABELLERS, "centred", centred)
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def distilled(shapes_folder: Path, tmp_path: Path) -> Callable[..., int]:
    """`dgdd distill` with some more words, two images a class at 16 pixels: its exit code."""

    def distil(out: Path, *words: str, method: str = "balanced-random") -> int:
        data = [str(shapes_folder), "--target", "cyan", "--ipc", "2", "--image-size", "16"]
        return run(["distill", *data, "--method", method, "--progress", "none", "--out", str(out), *words])

    return distil


@pytest.mark.parametrize(("words", "kind"), [(SOFT, "probability"), (CENTRED, "regression")])
def test_distilled_read_exported(distilled, words: list[str], kind: str, tmp_path: Path, capsys: Capture) -> None:
    path, out = tmp_path / "b.safetensors", tmp_path / "out"
    assert distilled(path, *words) == 0
    images, labels, _ = load_bundle(path).labelled()
    assert labels.kind == kind
    assert labels.soft.shape == (6, 3)
    settings = load_bundle(path).manifest.method.settings["labels"]
    assert settings == ({"name": "nearest", "temperature": 2.5} if kind == "probability" else {"name": "centred"})
    loaded = DistilledSet(path)
    assert torch.equal(torch.stack([row for _, row in loaded]), labels.soft)
    assert run(["inspect", str(path), "--export", str(out)]) == 0
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert torch.equal(torch.tensor([row["soft_label"] for row in rows]), labels.soft)
    assert len(images) == 6


def test_what_it_teaches_is_about_the_stored_images_and_the_sources(
    distilled, shapes_folder: Path, tmp_path: Path
) -> None:
    from dgdd_cli import load_dataset

    path = tmp_path / "b.safetensors"
    assert distilled(path, *SOFT, "--steps", "2", "--probes", "bank:1", "--set", "probes.width=4", method="dm") == 0
    source = load_dataset(str(shapes_folder), image_size=16, domains=["amber", "blue"])
    means = torch.stack([to_unit(source.images[source.labels == c]).mean(0).flatten() for c in range(3)])
    images, labels, _ = load_bundle(path).labelled()
    wanted = (-torch.cdist(to_unit(images).flatten(1), means) / 2.5).softmax(1)
    torch.testing.assert_close(labels.soft, wanted)


def test_of_tiles_every_training_image_has_its_own(distilled, tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    by = ["--probes", "bank:1", "--set", "probes.width=4", "--set", "optimiser.image_rate=30"]
    assert distilled(tmp_path / "start", *TILES, *by, "--steps", "0", method="dm") == 0
    assert distilled(path, *SOFT, *TILES, *by, "--steps", "2", method="dm") == 0
    bundle = load_bundle(path)
    assert not torch.equal(bundle.images, load_bundle(tmp_path / "start").images)
    images, labels, _ = bundle.labelled()
    assert (len(bundle), len(images)) == (6, 24)
    assert labels.soft.shape == (24, 3)
    assert len(labels.soft.unique(dim=0)) > 6
    assert bundle.manifest.synthesis.document() == {"name": "tiles", "factor": 2}


@pytest.mark.parametrize("trainer", ["erm", "mixup"])
def test_a_student_learns_them(distilled, shapes_folder: Path, trainer: str, tmp_path: Path, capsys: Capture) -> None:
    """Labels that name the next class for every image teach that class: the accuracy falls to nothing."""
    accuracies = []
    for name, turn in (("true", 0), ("turned", 1)):

        def turned(settings, turn=turn):
            return lambda context, source, images, classes: Labels(
                "probability", classes, torch.nn.functional.one_hot((classes + turn) % 3, 3).float()
            )

        path = tmp_path / f"{name}.safetensors"
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(LABELLERS, "turned", turned)
            assert distilled(path, "--set", "labels.name=turned") == 0
        capsys.readouterr()
        asked = ["evaluate", str(path), "--target", "amber", "--allow-seen", "--epochs", "30", "--repeats", "1"]
        words = ["--trainer", trainer, "--set", "width=8", "--dataset", str(shapes_folder), "--json"]
        assert run([*asked, *words, "--progress", "none"]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        accuracies.append(result["accuracy"]["mean"])
    assert accuracies[0] > 0.6
    assert accuracies[1] < 0.4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "labels.name=neerest"], "did you mean 'nearest'?"),
        (["--set", "labels.name=nearest"], "labels: 'temperature'"),
        (["--set", "labels.name=nearest", "--set", "labels.temperature=warm"], "could not convert"),
        (["--set", "labels.temperature=2"], "hard labels have no settings, and 'temperature' is given"),
    ],
)
def test_names_and_settings_are_checked_before_anything_is_read(distilled, words, said, tmp_path, capsys) -> None:
    assert distilled(tmp_path / "b.safetensors", *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("wrong", ["classes", "columns", "rows"])
def test_labels_of_something_else_are_refused(wrong: str, shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    source = shapes(8)
    classes = source.labels[:4]
    given = {
        "classes": Labels("hard", classes + 1),
        "columns": Labels("probability", classes, torch.ones(4, 1)),
        "rows": Labels("hard", classes[:3]),
    }[wrong]
    monkeypatch.setitem(LABELLERS, "wrong", lambda settings: lambda *asked: given)
    from dgdd_cli.errors import UsageError

    with pytest.raises(UsageError, match="gives no labels"):
        label("wrong", {}, Context(), source, source.images[:4], classes)
