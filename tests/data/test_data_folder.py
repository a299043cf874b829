from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from data_pictures import draw_tree, picture, write
from PIL import Image

from dgdd_cli.data.load import load_dataset, locate, read
from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.storage.cache import Cache


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_tree(tmp_path / "mine", {"a": ["x", "y"], "b": ["x", "y"]})


def test_what_is_read_is_one_uint8_tensor_in_the_order_of_the_names(root: Path) -> None:
    dataset = load_dataset(root, image_size=16)
    assert dataset.images.shape == (8, 3, 16, 16)
    assert dataset.images.dtype == torch.uint8
    assert dataset.domains.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert dataset.labels.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    expected = picture(5).resize((16, 16), Image.Resampling.BILINEAR)  # b/x/1.png
    actual = Image.fromarray(dataset.images[5].permute(1, 2, 0).contiguous().numpy())
    assert actual.tobytes() == expected.tobytes()


def test_only_the_named_domains_are_read_in_the_order_given(root: Path) -> None:
    (root / "a" / "x" / "0.png").write_bytes(b"broken")
    dataset = load_dataset(root, image_size=8, domains=["b"])
    assert dataset.domain_names == ("b",)
    assert dataset.class_names == ("x", "y")
    whole = load_dataset(root, image_size=8, domains=["b", "a"], skip_corrupt=True)
    assert whole.domain_names == ("b", "a")
    assert torch.equal(whole.images[:4], dataset.images)
    assert whole.domains.tolist() == [0] * 4 + [1] * 3


def test_a_domain_named_twice_and_an_absurd_size_are_usage_errors(root: Path) -> None:
    located = locate(str(root))
    with pytest.raises(UsageError, match="named twice"):
        read(located, image_size=8, domains=["a", "A"])
    with pytest.raises(UsageError, match="image size 4096"):
        read(located, image_size=4096)


@pytest.mark.parametrize("content", ["truncated", "garbage", "empty", "dangling"])
def test_a_corrupt_image_is_named_and_can_be_skipped(root: Path, content: str) -> None:
    broken = root / "b" / "y" / "1.png"
    whole = broken.read_bytes()
    broken.unlink()
    if content == "dangling":
        broken.symlink_to(root / "nowhere.png")
    else:
        broken.write_bytes({"truncated": whole[: len(whole) // 2], "garbage": b"\x00" * 99, "empty": b""}[content])
    with pytest.raises(DataError, match=r"^b/y/1\.png cannot be read: ") as caught:
        load_dataset(root, image_size=8)
    assert "--skip-corrupt" in str(caught.value.hint)
    assert "\n" not in caught.value.message
    dataset = load_dataset(root, image_size=8, skip_corrupt=True)
    assert (len(dataset), dataset.skipped) == (7, 1)
    assert any("b/y/1.png" in note for note in dataset.notes)
    assert dataset.labels.tolist() == [0, 0, 1, 1, 0, 0, 1]


def test_a_truncated_jpeg_is_never_half_an_image(root: Path) -> None:
    path = write(root / "a" / "x" / "2.jpg", picture(9, (200, 200)))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"a/x/2\.jpg cannot be read: .*truncated"):
        load_dataset(root, image_size=8)


def test_a_domain_of_corrupt_images_only(root: Path) -> None:
    for path in (root / "b").glob("*/*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="no image of the domain 'b' could be read"):
        load_dataset(root, image_size=8, skip_corrupt=True)


def test_extensions_are_not_trusted(root: Path) -> None:
    write(root / "a" / "x" / "2.dat", picture(20), "PNG")
    write(root / "a" / "x" / "3.txt", picture(21), "PNG")
    write(root / "a" / "x" / "4.png", picture(22), "JPEG")
    write(root / "a" / "x" / "5", picture(23), "BMP")
    dataset = load_dataset(root, image_size=8)
    assert dataset.counts().tolist() == [[6, 2], [2, 2]]
    assert dataset.notes == ()


def test_companion_files_are_left_out_and_named(root: Path) -> None:
    (root / "a" / "x" / "labels.csv").write_text("file,label\n")
    (root / "a" / "x" / "readme.TXT").write_text("hello")
    (root / "a" / "x" / ".DS_Store").write_bytes(b"x")
    (root / "a" / "x" / "Thumbs.db").write_bytes(b"x")
    (root / "a" / "notes.md").write_text("x")
    dataset = load_dataset(root, image_size=8)
    assert len(dataset) == 8
    assert any("2 files that are no images: 'labels.csv', 'readme.TXT'" in note for note in dataset.notes)
    assert any("'notes.md'" in note for note in dataset.notes)
    assert not any("Thumbs" in note or "DS_Store" in note for note in dataset.notes)


def test_a_pipe_does_not_block(root: Path) -> None:
    os.mkfifo(root / "a" / "x" / "pipe.png")
    dataset = load_dataset(root, image_size=8)
    assert len(dataset) == 8
    assert any("'pipe.png'" in note for note in dataset.notes)


def test_folders_instead_of_images_are_a_level_too_many(tmp_path: Path) -> None:
    draw_tree(tmp_path / "set" / "a", {"train": ["x"], "val": ["x"]})
    draw_tree(tmp_path / "set" / "b", {"train": ["x"]})
    with pytest.raises(DataError, match=r"holds folders \('x'\) instead of images: a level too many"):
        load_dataset(tmp_path / "set", image_size=8)


def test_a_domain_without_any_image(root: Path) -> None:
    for path in (root / "b").glob("*/*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"the domain 'b' in .* holds no image"):
        load_dataset(root, image_size=8)


def test_progress_is_truthful(root: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def note(stage: str, done: int, total: int, figures: object = None) -> None:
        seen.append((stage, done, total))

    load_dataset(root, image_size=8, progress=note)
    assert seen == [("decoding a", 4, 4), ("decoding b", 4, 4)]


def test_names_that_look_like_markup_or_commands_stay_names(tmp_path: Path) -> None:
    odd = "[red]; $(rm -rf) %s {0}"
    draw_tree(tmp_path / "mine", {"a": [odd], "b": [odd]}, images=1)
    assert load_dataset(tmp_path / "mine", image_size=8).class_names == (odd,)


@pytest.mark.parametrize("odd", ["x\ny", "\x1b[31m", "\u202egnp", os.fsdecode(b"\xff")])
def test_control_characters_in_a_name_are_refused_before_anything_is_read(tmp_path: Path, odd: str) -> None:
    root = draw_tree(tmp_path / "mine", {"a": [odd], "b": ["x"]}, images=1)
    what = "is not UTF-8" if "\udcff" in odd else "holds control characters"
    with pytest.raises(DataError, match=what) as caught:
        locate(str(root))
    assert caught.value.message.isprintable()
    assert "\\\\" not in caught.value.message


def test_a_corrupt_file_with_an_odd_name_is_one_printable_line(root: Path, tmp_path: Path) -> None:
    (root / "a" / "x" / os.fsdecode(b"\n\x1b[2J\xff.png")).write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be read") as caught:
        load_dataset(root, image_size=8)
    assert caught.value.message.isprintable()
    assert load_dataset(root, image_size=8, skip_corrupt=True, cache=Cache(tmp_path / "cache")).skipped == 1
