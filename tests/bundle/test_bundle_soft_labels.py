"""Soft labels pass through bundle, DistilledSet and exports as one type that says its kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader
from toy_bundles import edited, facts_with, tensors_with

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.dataset import DistilledSet
from dgdd_cli.bundle.export import export_folder
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.errors import DataError
from dgdd_cli.storage.container import tensor_sha256
from dgdd_cli.synthesis.labels import label_kind

PROBABILITIES = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5], [0.0, 1.0]])
TARGETS = torch.tensor([[0.5, -0.5], [0.1, -0.1], [-0.5, 0.5], [-0.25, 0.25]])
KINDS = [("probability", PROBABILITIES), ("regression", TARGETS)]


def written(path: Path, soft: Tensor, **facts: Any) -> Path:
    write_bundle(path, tensors_with(soft_labels=soft), facts_with(**facts))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "soft.safetensors"


@pytest.mark.parametrize(("kind", "soft"), KINDS)
def test_they_pass_through_a_bundle(path: Path, kind: str, soft: Tensor) -> None:
    bundle = load_bundle(written(path, soft, label_kind=kind))
    assert bundle.manifest.label_kind == kind
    images, labels, domains = bundle.labelled()
    assert labels.kind == kind
    assert torch.equal(labels.soft, soft)
    assert labels.classes.tolist() == [0, 0, 1, 1]
    assert torch.equal(images, tensors_with()["images"])
    assert domains.tolist() == [0, 1, 0, -1]


def test_hard_labels_leave_no_trace_in_the_manifest(bundle_path: Path) -> None:
    bundle = load_bundle(bundle_path)
    assert "label_kind" not in bundle.manifest.document()
    assert b"label_kind" not in bundle_path.read_bytes()
    labels = bundle.labelled().labels
    assert (labels.kind, labels.soft) == ("hard", None)


def test_probabilities_need_no_statement(path: Path) -> None:
    """Written without one, the manifest states it; read without one, they are recognised."""
    written(path, PROBABILITIES)
    assert load_bundle(path).manifest.label_kind == "probability"
    path.write_bytes(edited(path.read_bytes(), lambda d: d.pop("label_kind")))
    bundle = load_bundle(path)
    assert bundle.manifest.label_kind is None
    assert bundle.labelled().labels.kind == "probability"


@pytest.mark.parametrize(("kind", "soft"), KINDS)
def test_items_give_the_row_of_the_image(path: Path, kind: str, soft: Tensor) -> None:
    distilled = DistilledSet(written(path, soft, label_kind=kind))
    assert distilled.labels.kind == kind
    assert distilled.targets == [0, 0, 1, 1]
    assert torch.equal(distilled[1][1], soft[1])
    _, rows = next(iter(DataLoader(distilled, batch_size=4)))
    assert torch.equal(rows, soft)
    transformed = DistilledSet(path, transform=lambda pixels: pixels.dtype)
    assert transformed[2][0] == torch.uint8
    assert torch.equal(transformed[2][1], soft[2])


@pytest.mark.parametrize(("kind", "soft"), KINDS)
def test_an_export_has_a_column_of_them(path: Path, tmp_path: Path, kind: str, soft: Tensor) -> None:
    folder = export_folder(load_bundle(written(path, soft, label_kind=kind)), tmp_path / "out")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert torch.equal(torch.tensor([row["soft_label"] for row in rows]), soft)
    card, page = (folder / "README.md").read_text(), json.loads((folder / "croissant.json").read_text())
    assert f"| soft labels | {kind}: " in card
    assert "`soft_label`" in card
    (field,) = [f for f in page["recordSet"][0]["field"] if f["name"] == "soft_label"]
    assert (field["dataType"], field["isArray"], field["arrayShape"]) == ("sc:Float", True, "2")
    assert {"isArray", "arrayShape"} <= page["@context"].keys()


@pytest.mark.parametrize(("kind", "soft"), KINDS)
def test_inspect_says_the_kind(path: Path, kind: str, soft: Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    written(path, soft, label_kind=kind)
    out, grid = path.parent / "out", path.parent / "grid.png"
    assert run(["inspect", str(path), "--verify", "--gallery", str(grid), "--export", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"soft labels {kind}" in shown
    assert "soft_labels" in shown
    assert grid.exists()
    assert out.exists()


@pytest.mark.parametrize(
    ("soft", "edit", "words"),
    [
        (TARGETS, lambda d: d.pop("label_kind"), "label_kind is missing, and rows .* negative or do not sum to 1"),
        (TARGETS, lambda d: d.update(label_kind="probability"), "negative or do not sum to 1"),
        (PROBABILITIES, lambda d: d.update(label_kind="hard"), "holds the tensor 'soft_labels'"),
        (PROBABILITIES, lambda d: d.update(label_kind="logits"), "label_kind"),
        (PROBABILITIES, lambda d: d.update(label_kind=1), "label_kind"),
        (PROBABILITIES, lambda d: d.update(label_kind=["probability"]), "label_kind"),
        (PROBABILITIES, lambda d: d["hashes"].update(soft_labels="0" * 64), "'soft_labels' is not the one"),
    ],
)
def test_kinds_that_lie(path: Path, soft: Tensor, edit: Callable[[dict[str, Any]], object], words: str) -> None:
    written(path, soft, label_kind="regression" if soft is TARGETS else None)
    path.write_bytes(edited(path.read_bytes(), edit))
    with pytest.raises(DataError, match=words):
        load_bundle(path)
    assert run(["inspect", str(path)]) == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5])
def test_values_that_lie(path: Path, value: float) -> None:
    """The tensor and its hash changed together."""
    written(path, PROBABILITIES)
    bad = PROBABILITIES.clone()
    bad[3, 0] = value
    data = path.read_bytes().replace(PROBABILITIES.numpy().tobytes(), bad.numpy().tobytes())
    path.write_bytes(edited(data, lambda d: d["hashes"].update(soft_labels=tensor_sha256(bad))))
    with pytest.raises(DataError, match=r"NaN or infinite|negative"):
        load_bundle(path)


def test_a_kind_without_values(bundle_path: Path) -> None:
    bundle_path.write_bytes(edited(bundle_path.read_bytes(), lambda d: d.update(label_kind="regression")))
    with pytest.raises(DataError, match="'regression', and the tensor 'soft_labels' is missing"):
        load_bundle(bundle_path)


@pytest.mark.parametrize(
    ("soft", "kind", "words"),
    [
        (TARGETS, None, "label_kind is missing"),
        (TARGETS, "probability", "negative"),
        (PROBABILITIES, "hard", "'hard'"),
        (PROBABILITIES.long(), "probability", "must be float32"),
        (PROBABILITIES[0], None, "must be float32 with 2"),
    ],
)
def test_what_could_not_be_read_is_not_written(path: Path, soft: Tensor, kind: str | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        written(path, soft, label_kind=kind)
    assert not path.exists()


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(2, 9), st.floats(0.1, 8))
def test_a_softmax_is_recognised_and_what_is_shifted_is_not(seed: int, n: int, c: int, scale: float) -> None:
    logits = scale * torch.randn(n, c, generator=torch.Generator().manual_seed(seed))
    assert label_kind(None, logits.softmax(1)) == "probability"
    with pytest.raises(ValueError, match="label_kind is missing"):
        label_kind(None, logits.softmax(1) - 1 / c)
