"""What lies beside images, what is called an image and is none, and which broken files are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_pictures import draw_tree, picture, write

from dgdd_cli.__main__ import run
from dgdd_cli.data.load import load_dataset
from dgdd_cli.errors import DataError

SIDE = (
    *("0.png.xmp", "IMG_1.AAE", "sums.md5", "classes.names", "map.geojson", "notes.docx", "clip.webm", "LICENSE"),
    *("Makefile", "labels", "drawing.svg", "data.xyz"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_tree(tmp_path / "mine", {"a": ["x", "y"], "b": ["x", "y"]})


@pytest.mark.parametrize("name", SIDE)
def test_a_side_file_is_left_out_and_named(root: Path, name: str) -> None:
    (root / "a" / "x" / name).write_text("<svg/>" if name.endswith("svg") else "some text\n")
    dataset = load_dataset(root, image_size=8)
    assert len(dataset) == 8
    assert dataset.notes == (f"a: left out 1 file that is no image: {name!r}",)


@pytest.mark.parametrize("name", ["0.png~", "0.png.part", "0.jpg.crdownload", "0.png.bak", "0.tmp"])
def test_a_copy_of_an_editor_or_a_browser_is_no_further_image(root: Path, name: str) -> None:
    write(root / "a" / "x" / name, picture(0), "PNG")
    dataset = load_dataset(root, image_size=8)
    assert len(dataset) == 8
    assert name in dataset.notes[0]


@pytest.mark.parametrize("name", ["2.png", "2.JPG", "2.heic", "2.webp"])
def test_what_is_called_an_image_and_is_none_is_corrupt(root: Path, name: str) -> None:
    (root / "a" / "x" / name).write_text("some text\n")
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(root, image_size=8)


def test_a_tiff_with_its_directory_at_the_end_needs_no_suffix(root: Path) -> None:
    write(root / "a" / "x" / "scan", picture(0, (300, 300)), "TIFF")
    assert len(load_dataset(root, image_size=8)) == 9


@pytest.mark.parametrize(
    ("content", "what", "cure"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>404", "a web page", "download it again"),
        (b"\n<html lang='en'>", "a web page", "download it again"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", "convert it"),
        (b"<?xml version='1.0'?><svg width='1'/>", "SVG", "draw it as pixels"),
        (b"", "an empty file", "--skip-corrupt"),
    ],
)
def test_what_a_file_is_instead_and_the_cure(root: Path, content: bytes, what: str, cure: str) -> None:
    (root / "a" / "x" / "0.png").write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        load_dataset(root, image_size=8)
    assert cure in str(caught.value.hint)


def test_all_broken_files_are_named_up_to_twenty(root: Path) -> None:
    for domain in "ab":
        (root / domain / "x" / "0.png").write_bytes(b"junk")
    (root / "a" / "y" / "0.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_dataset(root, image_size=8)
    expected = (
        "3 images cannot be read: a/x/0.png, b/x/0.png (not an image in a known format); a/y/0.png (an empty file)"
    )
    assert caught.value.message == expected
    for i in range(30):
        (root / "b" / "y" / f"{i:02}.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"^20 images or more cannot be read") as caught:
        load_dataset(root, image_size=8)
    assert caught.value.message.count(".png") == 20
    assert "\n" not in caught.value.message


def test_the_document_lists_every_file_left_out(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    for i in range(6):
        (root / "a" / "x" / f"b{i}.png").write_bytes(b"junk")
    common = ["--image-size", "8", "--skip-corrupt", "--json", "--progress", "none", "--force"]
    out = ["--out", str(tmp_path / "out.safetensors")]
    for verb in (["distill", "--target", "b", "--method", "random", "--ipc", "1"], ["cluster", "--groups", "2"]):
        assert run([verb[0], str(root), *verb[1:], *common, *out]) == 0
        said = capsys.readouterr()
        document = json.loads(said.out)
        expected = [{"file": f"a/x/b{i}.png", "reason": "not an image in a known format"} for i in range(6)]
        assert document["skipped_files"] == expected
        assert document["skipped_images"] == 6
        assert "left out 6 corrupt images: a/x/b0.png" in said.err
    (root / "b" / "x" / "1.png").write_bytes(b"")
    bundle = tmp_path / "bundle.safetensors"
    method = ["--target", "b", "--method", "random", "--ipc", "1", "--out", str(bundle)]
    assert run(["distill", str(root), *method, *common]) == 0
    capsys.readouterr()
    protocol = ["--epochs", "1", "--repeats", "1", "--progress", "none", "--skip-corrupt", "--json"]
    assert run(["evaluate", str(bundle), "--dataset", str(root), *protocol]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["skipped_files"] == [{"file": "b/x/1.png", "reason": "an empty file"}]


def test_one_corrupt_image_is_one_image(root: Path) -> None:
    (root / "a" / "x" / "0.png").write_bytes(b"junk")
    (note,) = load_dataset(root, image_size=8, skip_corrupt=True).notes
    assert note == "left out 1 corrupt image: a/x/0.png"


def test_a_domain_of_side_files_says_what_is_there(root: Path) -> None:
    for path in (root / "b").glob("*/*.png"):
        path.rename(path.with_suffix(".svg")).write_text("<svg/>")
    with pytest.raises(DataError, match=r"the domain 'b' in .* holds no image, but 4 other files: '0\.svg'"):
        load_dataset(root, image_size=8)
