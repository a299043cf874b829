"""A bundle behaves as torchvision's datasets do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader
from toy_bundles import tensors_with

import dgdd_cli
from dgdd_cli.bundle.dataset import DistilledSet
from dgdd_cli.errors import DataError


def test_items_are_float_images_and_integer_labels(bundle_path: Path) -> None:
    distilled = DistilledSet(str(bundle_path))
    image, label = distilled[2]
    assert image.dtype == torch.float32
    assert torch.equal((image * 255).round().to(torch.uint8), tensors_with()["images"][2])
    assert 0 <= float(image.min()) <= float(image.max()) <= 1
    assert label == 1
    assert type(label) is int
    assert len(distilled) == 4


def test_names_and_indices(bundle_path: Path) -> None:
    distilled = DistilledSet(bundle_path)
    assert distilled.classes == ["cat", "dog"]
    assert distilled.class_to_idx == {"cat": 0, "dog": 1}
    assert distilled.domains == ["photo", "sketch"]
    assert distilled.targets == [0, 0, 1, 1]
    assert distilled.domain_targets == [0, 1, 0, -1]
    assert distilled.manifest.normalise.mean == (0.5, 0.25, 0.125)


def test_a_transform_gets_the_stored_pixels(bundle_path: Path) -> None:
    distilled = DistilledSet(bundle_path, transform=lambda pixels: (pixels.dtype, pixels.clone()))
    dtype, pixels = distilled[0][0]
    assert dtype == torch.uint8
    assert torch.equal(pixels, tensors_with()["images"][0])


def test_it_feeds_a_data_loader(bundle_path: Path) -> None:
    images, labels = next(iter(DataLoader(DistilledSet(bundle_path), batch_size=4)))
    assert images.shape == (4, 3, 8, 8)
    assert labels.tolist() == [0, 0, 1, 1]


def test_iteration_ends_and_negative_indices_count_from_the_end(bundle_path: Path) -> None:
    distilled = DistilledSet(bundle_path)
    assert [label for _, label in distilled] == [0, 0, 1, 1]
    assert distilled[-1][1] == 1


def test_the_public_names(bundle_path: Path) -> None:
    assert dgdd_cli.DistilledSet is DistilledSet
    assert len(dgdd_cli.load_bundle(bundle_path)) == 4


def test_an_invalid_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        DistilledSet(tmp_path / "none.safetensors")
