"""The gallery shows every image where its labels say, enlarged without smoothing, and stays within limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from dgdd_cli.bundle.manifest import BundleFacts
from dgdd_cli.bundle.read import Bundle, load_bundle
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.errors import UsageError
from dgdd_cli.report.gallery import MOST_COLUMNS, MOST_PIXELS, gallery, save_png


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


@pytest.mark.parametrize(("count", "ipc", "size"), [(300, 10, 8), (3, 1, 400), (1, 1, 1)])
def test_the_picture_stays_within_its_limit(tmp_path: Path, count: int, ipc: int, size: int) -> None:
    bundle = bundle_with(
        tmp_path, classes=[f"class {i}" for i in range(count)], ipc=ipc, domains=[0] * count * ipc, size=size
    )
    picture = gallery(bundle)
    assert picture.mode == "RGB"
    assert picture.width * picture.height < 1.5 * MOST_PIXELS
    assert picture.height > count * 50


def test_names_in_any_script_and_length(tmp_path: Path) -> None:
    names = ["猫", "é" * 200, "ok", "🦊", "a" * 255]
    gallery(bundle_with(tmp_path, classes=names, ipc=1, domains=[0] * 5))


def test_the_bitmap_font_of_a_pillow_without_freetype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bitmap = ImageFont.load_default_imagefont()
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
