"""Exports as the Hugging Face library `datasets` reads them, where it is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_bundles import facts_with

from dgdd_cli.bundle.export import export_folder
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.bundle.write import write_bundle

os.environ.setdefault("HF_HUB_OFFLINE", "1")
datasets: Any = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    yield
    datasets.enable_progress_bars()


def exported(folder: Path, classes: list[str], domains: list[str], *, shade: int = 0) -> Path:
    """An export of one image of the colour `shade` + label per class, class i of domain i."""
    folder.parent.mkdir(exist_ok=True)
    n = len(classes)
    tensors = {
        "images": torch.arange(shade, shade + n).to(torch.uint8)[:, None, None, None].expand(n, 3, 4, 4),
        "labels": torch.arange(n),
        "domains": torch.arange(n) % len(domains),
    }
    source = facts_with().source.document() | {"counts": {}, "domain_fingerprints": {}}
    path = folder.with_suffix(".safetensors")
    write_bundle(path, tensors, facts_with(classes=classes, domains=domains, target=None, source=source))
    return export_folder(load_bundle(path), folder)


def loaded(folder: Path, way: str) -> Any:
    """The rows by their index; there is one split, `train`."""
    found = (
        datasets.load_dataset(str(folder))
        if way == "card"
        else datasets.load_dataset("imagefolder", data_dir=str(folder))
    )
    assert list(found) == ["train"]
    return sorted(found["train"], key=lambda row: row["index"])


@pytest.mark.parametrize("way", ["card", "data_dir"])
@pytest.mark.parametrize(
    ("classes", "domains"),
    [
        (["airplane", "train", "truck"], ["photo", "test", "sketch"]),
        (["dog", "test", "train", "val", "crash test"], ["dev", "a-train-1"]),
        (["NA", "None", "null", "ok"], ["null", "NA"]),
        (["01", "02", "10"], ["1", "2"]),
        (["False", "True"], ["True", "False"]),
        (["猫", "🦊", "Éclair", "-x"], ["é", "b"]),
    ],
)
def test_every_row_keeps_its_names(tmp_path: Path, classes: list[str], domains: list[str], way: str) -> None:
    rows = loaded(exported(tmp_path / "one" / "out", classes, domains), way)
    assert [row["label"] for row in rows] == classes
    assert [row["domain"] for row in rows] == [domains[i % len(domains)] for i in range(len(classes))]
    assert [row["image"].getpixel((0, 0))[0] for row in rows] == list(range(len(classes)))


def test_labels_by_folder_are_those_of_the_bundle(tmp_path: Path) -> None:
    classes = ["-dash", "10", "Zebra", "apple", "train", "Éclair"]
    folder = exported(tmp_path / "one" / "out", classes, ["a"])
    (folder / "metadata.jsonl").unlink()  # as loaders see it that know no table
    (folder / "README.md").unlink()
    found = datasets.load_dataset("imagefolder", data_dir=str(folder))["train"]
    assert [(row["label"], row["image"].getpixel((0, 0))[0]) for row in found] == [(i, i) for i in range(6)]


def test_exports_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first = exported(tmp_path / "one" / "out", ["cat", "dog"], ["a"])
    second = exported(tmp_path / "two" / "out", ["cat", "dog"], ["a"], shade=100)
    assert loaded(first, "card")[0]["image"].getpixel((0, 0)) == (0, 0, 0)
    assert loaded(second, "card")[0]["image"].getpixel((0, 0)) == (100, 100, 100)
    shutil.rmtree(first)
    again = export_folder(load_bundle(second.with_suffix(".safetensors")), first)
    assert loaded(again, "card")[0]["image"].getpixel((0, 0)) == (100, 100, 100)
