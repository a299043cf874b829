"""The gallery shows every image where its labels say, enlarged without smoothing, and stays within limits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from dgdd_cli.bundle.manifest import BundleFacts
from dgdd_cli.bundle.read import Bundle, load_bundle
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.errors import UsageError
from dgdd_cli.report.gallery import gallery, save_png
from dgdd_cli.report.sheet import MOST_COLUMNS, MOST_PIXELS, MOST_SIDE, arrange, cell_of, in_bands


def bundle_with(
    folder: Path, *, classes: list[str], ipc: int, domains: list[int], size: int = 8, **more: Any
) -> Bundle:
    """A bundle in which image i has the one colour (i, 255 - i, 128), i < 256."""
    n = len(classes) * ipc
    shade = torch.arange(n).remainder(256).to(torch.uint8)
    images = torch.stack([shade, 255 - shade, torch.full_like(shade, 128)], 1)[..., None, None]
    names = [f"domain{i}" for i in range(max(domains) + 1)] or ["only"]
    facts: dict[str, Any] = {
        "normalise": {"mean": [0, 0, 0], "std": [1, 1, 1], "origin": "none"},
        "classes": classes,
        "domains": names,
        "target": None,
        "method": {"name": "random", "settings": {}},
        "seed": 0,
        "steps": 0,
        "software": {},
        "device": {"type": "cpu", "name": "cpu"},
        "source": {
            "dataset": "toy",
            "fingerprint": "0" * 64,
            "domain_fingerprints": {},
            "licence": "",
            "citation": "",
            "counts": {},
        },
    }
    tensors = {
        "images": images.expand(n, 3, size, size),
        "labels": torch.arange(len(classes)).repeat_interleave(ipc),
        "domains": torch.tensor(domains),
    }
    write_bundle(folder / "b.safetensors", tensors, BundleFacts.model_validate(facts))
    return load_bundle(folder / "b.safetensors")


def blocks(picture: Image.Image) -> list[list[int]]:
    """The shades of the coloured cells from left to right, row by row, as found in the picture."""
    pixels = np.asarray(picture).astype(int)
    coloured = (pixels[..., 2] == 128) & (pixels[..., 0] + pixels[..., 1] == 255)
    rows: list[list[int]] = []
    for y in range(1, pixels.shape[0]):
        starts = [x for x in range(1, pixels.shape[1]) if coloured[y, x] and not coloured[y, x - 1]]
        if starts and not any(coloured[y - 1, x] for x in starts):
            rows.append([int(pixels[y, x, 0]) for x in starts])
    return rows


def test_one_row_per_class_ordered_by_domain(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, classes=["a", "b"], ipc=4, domains=[1, 0, 1, 0] * 2)
    assert blocks(gallery(bundle)) == [[1, 3, 0, 2], [5, 7, 4, 6]]


def test_classes_with_different_domains_are_captioned_one_by_one(tmp_path: Path) -> None:
    alike = bundle_with(tmp_path, classes=["a", "b"], ipc=2, domains=[0, 1, 0, 1])
    (tmp_path / "b.safetensors").unlink()
    different = bundle_with(tmp_path, classes=["a", "b"], ipc=2, domains=[0, 1, 1, -1])
    assert blocks(gallery(different)) == [[0, 1], [2, 3]]
    assert gallery(different).height > gallery(alike).height


def test_small_images_grow_by_an_integer_factor_without_smoothing(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, classes=["a"], ipc=1, domains=[0], size=32)
    checks = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).to(torch.uint8) * 255
    (tmp_path / "b.safetensors").unlink()
    write_bundle(
        tmp_path / "b.safetensors",
        {"images": checks.expand(1, 3, 32, 32), "labels": bundle.labels, "domains": bundle.domains},
        BundleFacts.model_validate({k: v for k, v in bundle.manifest if k in BundleFacts.model_fields}),
    )
    pixels = np.asarray(gallery(load_bundle(tmp_path / "b.safetensors")))
    expected = checks.numpy().repeat(3, 0).repeat(3, 1)
    height, width = pixels.shape[:2]
    assert any(
        np.array_equal(pixels[y : y + 96, x : x + 96, 0], expected)
        for y in range(height - 95)
        for x in range(width - 95)
        if pixels[y, x, 0] == 0
    )


def test_many_images_per_class_are_selected_evenly_over_the_domains(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, classes=["a"], ipc=100, domains=[0] * 90 + [1] * 8 + [-1] * 2)
    (row,) = blocks(gallery(bundle))
    assert len(row) == MOST_COLUMNS
    assert [sum(shade < 90 for shade in row), sum(90 <= shade < 98 for shade in row)] == [10, 8]
    assert row == sorted(row)


@pytest.mark.parametrize(("count", "ipc", "size"), [(345, 1, 8), (300, 10, 8), (60, 3, 100), (3, 1, 400), (1, 1, 1)])
def test_the_picture_can_be_opened_and_looked_at(tmp_path: Path, count: int, ipc: int, size: int) -> None:
    """Viewers refuse long sides; a strip of 483 x 40,444 pixels shows nothing even where it opens."""
    bundle = bundle_with(
        tmp_path, classes=[f"class {i}" for i in range(count)], ipc=ipc, domains=[0] * count * ipc, size=size
    )
    picture = gallery(bundle)
    assert picture.mode == "RGB"
    assert max(picture.size) <= 16_000
    assert picture.width * picture.height <= 40_000_000
    assert picture.height <= max(2000, 1.5 * picture.width)
    assert picture.width <= max(2000, 3 * picture.height)


def test_many_classes_stand_side_by_side(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, classes=[f"{i:02d}" for i in range(40)], ipc=1, domains=[0] * 40)
    assert blocks(gallery(bundle)) == [[row, row + 14, row + 28] for row in range(12)] + [[12, 26], [13, 27]]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    classes=st.integers(1, 30_000),
    ipc=st.integers(1, 500),
    width=st.integers(1, 2000),
    height=st.integers(1, 2000),
    label=st.integers(20, 192),
    alike=st.booleans(),
)
def test_every_sheet_is_within_the_limits(
    classes: int, ipc: int, width: int, height: int, label: int, alike: bool
) -> None:
    sheet = arrange(classes, ipc, cell_of(width, height), label=label, head=60, least_row=16)
    if alike:
        sheet = in_bands(replace(sheet, captions=False))
    w, h = sheet.size
    assert max(w, h) <= MOST_SIDE
    assert w * h <= MOST_PIXELS
    assert 1 <= sheet.columns <= min(ipc, MOST_COLUMNS)
    assert 1 <= sheet.classes <= classes
    assert sheet.classes == classes or sheet.columns == 1
    corners = [sheet.corner(place) for place in range(sheet.classes)]
    assert len(set(corners)) == sheet.classes
    assert max(x for x, _ in corners) + sheet.band <= w
    assert max(y for _, y in corners) + sheet.cell[1] <= h


def test_classes_beyond_the_limit_are_selected_and_counted(tmp_path: Path) -> None:
    sheet = arrange(20_000, 3, (96, 96), label=100, head=60, least_row=16)
    assert sheet.columns == 1
    assert 1000 < sheet.classes < 20_000


def label_of(folder: Path, name: str) -> np.ndarray:
    """The pixels of a class's name in the gallery, whose other class has a longer one."""
    folder.mkdir()
    picture = gallery(bundle_with(folder, classes=[name, "the longer name of all"], ipc=1, domains=[0, 0]))
    pixels = np.asarray(picture)
    coloured = (pixels[..., 2] == 128) & (pixels[..., 0] == 0) & (pixels[..., 1] == 255)
    top, left = (int(places.min()) for places in np.nonzero(coloured))
    return pixels[top : top + 96, :left]


def test_letters_of_any_script_can_be_told_apart(tmp_path: Path) -> None:
    names = ["ß", "é", "Ж", "ω", "א", "猫", "犬", "🦊", "🦁", "a", "\ue000"]
    labels = [label_of(tmp_path / str(i), name) for i, name in enumerate(names)]
    for i, one in enumerate(labels):
        for j, other in enumerate(labels[:i]):
            assert not np.array_equal(one, other), (names[i], names[j])
    assert np.array_equal(label_of(tmp_path / "composed", "e\u0301"), labels[1])


def test_letters_that_the_font_lacks_are_given_by_code(tmp_path: Path) -> None:
    """The code stands behind the number of the class, since a long name in codes is cut."""
    assert np.array_equal(label_of(tmp_path / "1", "猫"), label_of(tmp_path / "2", "0: \\u732b"))
    assert np.array_equal(label_of(tmp_path / "3", "é🦊"), label_of(tmp_path / "4", "0: é\\U0001f98a"))


def test_names_in_any_script_and_length(tmp_path: Path) -> None:
    names = ["猫", "é" * 200, "ok", "🦊", "a" * 255, "猫" * 255]
    gallery(bundle_with(tmp_path, classes=names, ipc=1, domains=[0] * 6))


def test_the_bitmap_font_of_a_pillow_without_freetype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bitmap = ImageFont.load_default_imagefont()

    def without_freetype(*arguments: object, **more: object) -> None:
        raise ImportError("The _imagingft C module is not installed")

    monkeypatch.setattr(ImageFont, "truetype", without_freetype)
    monkeypatch.setattr(ImageFont, "load_default", lambda size: bitmap)
    bundle = bundle_with(tmp_path, classes=["猫", "b"], ipc=1, domains=[0, 0])
    assert blocks(gallery(bundle)) == [[0], [1]]


def test_the_same_bundle_gives_the_same_file(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, classes=["a", "b"], ipc=2, domains=[0] * 4)
    save_png(gallery(bundle), tmp_path / "1.png")
    save_png(gallery(bundle), tmp_path / "2.png")
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    with Image.open(tmp_path / "1.png") as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), np.asarray(gallery(bundle)))


def test_an_existing_picture_survives_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "grid.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        save_png(Image.new("RGB", (1, 1)), tmp_path / "grid.png")
    assert (tmp_path / "grid.png").read_bytes() == b"mine"
    save_png(Image.new("RGB", (1, 1)), tmp_path / "grid.png", True)
    assert os.listdir(tmp_path) == ["grid.png"]
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
