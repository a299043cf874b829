"""A dataset in a CSV from outside the package: one file (doors_csv.py) and one entry in READERS."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from doors_csv import CSV

from dgdd_cli import cluster, distill, evaluate, load_bundle, load_dataset
from dgdd_cli.__main__ import run
from dgdd_cli.data.readers import READERS
from dgdd_cli.errors import DataError

Capture = pytest.CaptureFixture[str]
SMALL = {"ipc": 1, "image_size": 16, "target": "cyan"}
QUICK = {"epochs": 1, "repeats": 1, "settings": {"width": 4}}


@pytest.fixture(autouse=True)
def _entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(READERS, "csv", CSV)
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def table(shapes_folder: Path) -> Path:
    """The images of the folder `shapes`, listed from beside it."""
    files = sorted(shapes_folder.glob("*/*/*"))
    rows = [f"{file.relative_to(shapes_folder.parent)},{file.parts[-2]},{file.parts[-3]}" for file in files]
    return write(shapes_folder.parent / "shapes.csv", rows)


def write(path: Path, rows: list[str], columns: str = "path,label,domain") -> Path:
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return path


def test_the_images_are_those_of_the_folder_and_are_kept(table: Path, shapes_folder: Path, tmp_path: Path) -> None:
    from dgdd_cli.storage.cache import Cache

    cache = Cache(tmp_path / "decoded")
    wanted = load_dataset(shapes_folder, image_size=16)
    for found in (load_dataset(table, image_size=16, cache=cache), load_dataset(table, image_size=16, cache=cache)):
        assert (found.name, found.class_names, found.domain_names) == (
            "shapes",
            wanted.class_names,
            wanted.domain_names,
        )
        assert torch.equal(found.images, wanted.images)
        assert torch.equal(found.labels, wanted.labels)
        assert found.fingerprint() == wanted.fingerprint()
    assert list((tmp_path / "decoded").rglob("*.safetensors"))


def test_from_python(table: Path, shapes_folder: Path, tmp_path: Path) -> None:
    """Bundles, groups and accuracies are those of the same images in folders."""
    found = []
    for place in (table, shapes_folder):
        more = {"cache_dir": tmp_path / f"cache of {place.name}"}
        bundle = distill(place, method="dm", steps=1, probes="bank:1", settings={"probes.width": 4}, **SMALL, **more)
        rows = evaluate(bundle, dataset=str(place), baseline="random,kmeans", **QUICK, **more)
        groups = cluster(place, groups=3, image_size=16, **more)
        accuracies = [(row.method, row.document["accuracy"], row.setting) for row in rows]
        found.append((bundle.images.tolist(), bundle.manifest.source, accuracies, groups.groups.tolist()))
    assert found[0] == found[1]
    assert len(found[0][2]) == 3


def test_from_the_command_line(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(table.parent)  # where the name alone is enough
    bundle, groups = str(tmp_path / "b.safetensors"), str(tmp_path / "g.safetensors")
    asked = ["--target", "cyan", "--ipc", "1", "--image-size", "16", "--progress", "none"]
    assert run(["distill", "shapes.csv", "--method", "random", "--out", bundle, *asked]) == 0
    assert "--dataset shapes.csv" in capsys.readouterr().err
    assert load_bundle(bundle).manifest.source.counts["amber"] == {"bar": 5, "box": 5, "dot": 5}
    quick = ["--epochs", "1", "--repeats", "1", "--set", "width=4", "--progress", "none", "--json"]
    assert run(["evaluate", bundle, "--dataset", str(table), "--baseline", "balanced-random", *quick]) == 0
    assert [row["target"] for row in json.loads(capsys.readouterr().out)["results"]] == ["cyan", "cyan"]
    assert run(["cluster", "./shapes.csv", "--groups", "2", "--image-size", "16", "--out", groups, "-q"]) == 0


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (["shapes/amber/bar/pic_000.jpg,bar"], "path,label", "has no column 'domain'"),
        (["../elsewhere.jpg,bar,amber"], "path,label,domain", r"line 2: '\.\./elsewhere\.jpg' is no path below"),
        (["/etc/hostname,bar,amber"], "path,label,domain", "line 2: '/etc/hostname' is no path below"),
        (["shapes/../../x.jpg,bar,amber"], "path,label,domain", "is no path below"),
        (["shapes/amber/bar/pic_000.jpg,bar"], "path,label,domain", "line 2: a value is missing"),
        (["shapes/amber/bar/pic_000.jpg,,amber"], "path,label,domain", "the class '' is blank"),
        (["shapes/amber/bar/pic_000.jpg,b\x1bar,amber"], "path,label,domain", "holds control characters"),
        ([], "path,label,domain", "the dataset has no domain"),
        (['"shapes'], "path,label,domain", "cannot read"),
        (["shapes/none.jpg,bar,amber"], "path,label,domain", "none.jpg cannot be read: No such file or directory"),
        (["shapes/pipe.jpg,bar,amber"], "path,label,domain", "pipe.jpg cannot be read: a pipe, socket or device"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(table: Path, rows, columns, said, tmp_path: Path, capsys: Capture) -> None:
    os.mkfifo(table.parent / "shapes" / "pipe.jpg")
    good = ["shapes/cyan/dot/pic_000.png,dot,amber"] if "cannot be read" in said else []
    bad = write(table.parent / "bad.csv", [*good, *rows], columns)
    with pytest.raises(DataError, match=said):
        load_dataset(bad, image_size=16)
    out = str(tmp_path / "b.safetensors")
    asked = ["--target", "none", "--ipc", "1", "--image-size", "16", "--method", "random", "--out", out]
    assert run(["distill", str(bad), *asked]) == 3
    assert "hint:" in capsys.readouterr().err
    assert not Path(out).exists()


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nowhere\.csv"):
        load_dataset(tmp_path / "nowhere.csv")


def test_a_catalog_set_is_not_taken_for_a_table(table: Path, capsys: Capture) -> None:
    """A table with the name of a published set is somebody's own."""
    os.rename(table, table.parent / "pacs.csv")
    assert load_dataset(table.parent / "pacs.csv", image_size=16).name == "pacs (own file)"
