"""The exported folder: exact pixels, loadable by torchvision, harmless names, never half there."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from toy_bundles import facts_with, tensors_with

from dgdd_cli.bundle.export import export_folder
from dgdd_cli.bundle.names import file_names
from dgdd_cli.bundle.read import Bundle, load_bundle
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.errors import DgddError, UsageError


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_layout(bundle: Bundle, tmp_path: Path) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == [
        "README.md",
        "cat/photo_00000.png",
        "cat/sketch_00001.png",
        "croissant.json",
        "dog/mixed_00003.png",
        "dog/photo_00002.png",
        "metadata.csv",
    ]


def test_pixels_round_trip_exactly(bundle: Bundle, tmp_path: Path) -> None:
    folder = export_folder(bundle, str(tmp_path / "out"))
    for row in rows_of(folder):
        with Image.open(folder / row["file_name"]) as image:
            assert image.mode == "RGB"
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        assert torch.equal(pixels, bundle.images[int(row["index"])])


def test_image_folder_reads_the_same_classes(bundle: Bundle, tmp_path: Path) -> None:
    loaded = ImageFolder(str(export_folder(bundle, tmp_path / "out")))
    assert loaded.classes == list(bundle.manifest.classes)
    assert sorted(loaded.targets) == bundle.labels.tolist()
    by_index = {int(Path(path).stem.rpartition("_")[2]): label for path, label in loaded.samples}
    assert [by_index[i] for i in range(4)] == bundle.labels.tolist()


def test_metadata_is_what_hugging_face_imagefolder_expects(bundle: Bundle, tmp_path: Path) -> None:
    """A metadata.csv at the root whose `file_name` holds relative POSIX paths of exactly the images there are."""
    folder = export_folder(bundle, tmp_path / "out")
    rows = rows_of(folder)
    assert list(rows[0]) == ["file_name", "label", "domain", "index"]
    assert [(row["label"], row["domain"]) for row in rows] == [
        ("cat", "photo"),
        ("cat", "sketch"),
        ("dog", "photo"),
        ("dog", "mixed"),
    ]
    images = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    assert {row["file_name"] for row in rows} == images
    assert not any(part.startswith((".", "__")) for name in images for part in name.split("/"))
    header = (folder / "README.md").read_text().split("---\n")[1]
    assert 'path: ["*/*.png", "metadata.csv"]' in header


def test_croissant_points_at_the_files(bundle: Bundle, tmp_path: Path) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    document = json.loads((folder / "croissant.json").read_text())
    table, images = document["distribution"]
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert table["sha256"] == hashlib.sha256((folder / "metadata.csv").read_bytes()).hexdigest()
    assert len(list(folder.glob(images["includes"]))) == 4
    assert [field["name"] for field in document["recordSet"][0]["field"]] == ["file_name", "label", "domain", "index"]


def test_the_card_disarms_markup(tmp_path: Path) -> None:
    source = facts_with().source.document() | {"licence": "<script>x</script> | [a](b)\n# head", "dataset": 'a"b: c'}
    path = tmp_path / "b.safetensors"
    write_bundle(path, tensors_with(), facts_with(source=source))
    card = (export_folder(load_bundle(path), tmp_path / "out") / "README.md").read_text()
    assert "<script>" not in card
    assert "&lt;script&gt;x&lt;/script&gt; \\| \\[a\\](b) \\# head" in card
    assert 'pretty_name: "a\\"b: c, distilled with dm"' in card


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["a/b", "a\\b", "a:b"], ["a_b", "a_b-2", "a_b-3"]),
        (["Cat", "cat", "CAT"], ["Cat", "cat-2", "CAT-3"]),
        (["a-2", "a", "A"], ["a-2", "a", "A-3"]),
        (["..", ".", "../../etc/passwd"], ["unnamed", "unnamed-2", "etc_passwd"]),
        (["-rf", "__x", ".hidden", "x. "], ["rf", "x", "hidden", "x-2"]),
        (["con", "COM1.txt", "none"], ["con-1", "COM1.txt-1", "none"]),
        (["é", "e\u0301", "猫"], ["é", "é-2", "猫"]),
        (["x" * 300], ["x" * 100]),
        (["猫" * 100], ["猫" * 33]),
        (["\u202etxt", "a b"], ["txt", "a b"]),
    ],
)
def test_file_names_are_harmless_and_distinct(names: list[str], expected: list[str]) -> None:
    assert file_names(names) == expected


def test_classes_that_sanitise_to_one_name_do_not_collide(tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    source = facts_with().source.document() | {"counts": {}}
    write_bundle(path, tensors_with(), facts_with(classes=["a/b", "a?b"], source=source))
    folder = export_folder(load_bundle(path), tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["a_b", "a_b-2"]
    assert [row["label"] for row in rows_of(folder)] == ["a/b", "a/b", "a?b", "a?b"]
    assert len(ImageFolder(str(folder))) == 4


def test_a_folder_with_anything_in_it_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_folder(bundle, tmp_path / "out")  # empty: filled
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="not empty") as caught:
        export_folder(bundle, tmp_path / "out")
    assert "--force" in (caught.value.hint or "")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_earlier_export_is_replaced_whole(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    source = facts_with().source.document() | {"counts": {}}
    write_bundle(path, tensors_with(), facts_with(classes=["x", "y"], source=source))
    folder = export_folder(load_bundle(path), tmp_path / "out")
    export_folder(bundle, folder, overwrite=True)
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["cat", "dog"]
    assert {p.name for p in tmp_path.iterdir()} == {"other.safetensors", "out", "toy.safetensors"}


@pytest.mark.parametrize("stranger", ["thesis.tex", "cat/mine.png", "empty/"])
def test_a_folder_with_the_users_own_files_is_never_replaced(bundle: Bundle, tmp_path: Path, stranger: str) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    if stranger.endswith("/"):
        (folder / stranger).mkdir()
    else:
        (folder / stranger).write_text("mine")
    with pytest.raises(UsageError, match="not from an earlier export") as caught:
        export_folder(bundle, folder, overwrite=True)
    assert stranger.rstrip("/") in caught.value.message
    assert (folder / stranger).exists()
    assert (folder / "cat" / "photo_00000.png").exists()


def test_a_home_folder_is_never_replaced(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "home" / "papers").mkdir(parents=True)
    (tmp_path / "home" / "papers" / "a.pdf").write_text("x")
    with pytest.raises(UsageError, match=r"papers/a\.pdf"):
        export_folder(bundle, tmp_path / "home", overwrite=True)


def test_a_file_or_a_missing_parent_is_told(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        export_folder(bundle, tmp_path / "file", overwrite=True)
    with pytest.raises(UsageError, match="does not exist"):
        export_folder(bundle, tmp_path / "no" / "out")


def test_a_full_disk_leaves_the_earlier_export(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DgddError, match="No space left"):
        export_folder(bundle, folder, overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert {p.name for p in tmp_path.iterdir()} == {"out", "toy.safetensors"}


def test_a_failing_move_puts_the_earlier_export_back(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    real, calls = os.replace, []

    def second_fails(source: object, target: object) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(DgddError, match="Input/output error"):
        export_folder(bundle, folder, overwrite=True)
    assert (folder / "cat" / "photo_00000.png").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"out", "toy.safetensors"}
