"""Pictures of more bits or more pixels than usual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_pictures import draw_tree, write
from PIL import Image

from dgdd_cli.data import decode, opening
from dgdd_cli.data.load import load_dataset
from dgdd_cli.errors import DataError
from dgdd_cli.storage.cache import Cache


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_tree(tmp_path / "mine", {"a": ["x", "y"], "b": ["x", "y"]})


def levels(top: int, kind: type = np.uint16) -> Image.Image:
    return Image.fromarray(np.linspace(0, top, 400).reshape(20, 20).astype(kind))


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_twelve_bits_of_sixteen_are_told_and_left_comparable(root: Path, tmp_path: Path, ending: str) -> None:
    write(root / "a" / "x" / f"2.{ending}", levels(4000))
    write(root / "a" / "x" / f"3.{ending}", levels(1000))
    write(root / "a" / "x" / f"4.{ending}", levels(65535))
    for _ in range(2):  # decoded, then from the cache
        dataset = load_dataset(root, image_size=20, cache=Cache(tmp_path / "cache"))
        (note,) = dataset.notes
        assert note.startswith("a: 2 images of 16 bits fill no more than the lowest 12 of them")
        assert "multiply their values by 16" in note
        assert [int(image.max()) for image in dataset.images[2:5]] == [16, 4, 255]


def test_sixteen_bits_become_the_nearest_of_eight() -> None:
    exact = np.round(np.arange(65536) * 255 / 65535).astype(np.uint8)
    assert (exact == decode.EIGHT_OF_SIXTEEN).all()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pictures_without_a_range_are_told_to_be_stretched(root: Path, kind: type) -> None:
    write(root / "b" / "x" / "2.tiff", levels(60, kind))
    dataset = load_dataset(root, image_size=20)
    (note,) = dataset.notes
    assert note.startswith("b: 1 image of floats or 32-bit integers")
    assert "brightness cannot be compared" in note
    assert int(dataset.images[dataset.domains == 1].amax((1, 2, 3))[2]) == 255


def test_a_jpeg_is_measured_by_what_is_decoded_of_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "LARGEST_IMAGE", 20_000)
    write(root / "a" / "x" / "2.jpg", Image.new("RGB", (1000, 800), "red"))
    assert len(load_dataset(root, image_size=8)) == 9


@pytest.mark.parametrize(("ending", "options"), [("png", {}), ("jpg", {"progressive": True})])
def test_what_is_too_large_is_not_called_corrupt(
    root: Path, monkeypatch: pytest.MonkeyPatch, ending: str, options: dict[str, bool]
) -> None:
    monkeypatch.setattr(opening, "LARGEST_IMAGE", 20_000)
    Image.new("RGB", (1000, 800), "red").save(root / "a" / "x" / f"2.{ending}", **options)
    with pytest.raises(DataError, match="it is too large: 1,000 x 800 pixels, of which at most 20,000") as caught:
        load_dataset(root, image_size=8)
    assert "resize" in str(caught.value.hint)


def test_large_pictures_are_decoded_one_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "LARGE_IMAGE", 0)
    expected = load_dataset(root, image_size=8).images
    inside = []
    real = decode._rgb

    def watched(image: Image.Image) -> Image.Image:
        inside.append(decode._one_large.locked())
        return real(image)

    monkeypatch.setattr(decode, "_rgb", watched)
    assert torch.equal(load_dataset(root, image_size=8).images, expected)
    assert inside == [True] * 8


def test_pillow_neither_warns_nor_stops_where_dgdd_does_not(
    root: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    write(root / "a" / "x" / "scan.jpg", Image.new("RGB", (100, 80), "red"))
    write(root / "a" / "x" / "2.tiff", levels(65535))
    write(root / "a" / "x" / "3", Image.new("RGB", (20, 20)), "BMP")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # twice as many are an error to Pillow, more a warning
    assert len(load_dataset(root, image_size=8)) == 11
    assert [str(warning.message) for warning in recwarn] == []
