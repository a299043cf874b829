"""A distilled set for training loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dgdd_cli.bundle.read import check_hard_labels, load_bundle


class DistilledSet(Dataset[tuple[Any, int]]):
    """The images and labels of a bundle, as torchvision's datasets give them.

    Items are (image, label): the image is float32 (3, H, W) in [0, 1], or what `transform` makes of the stored
    uint8 (3, H, W); it is not normalised: `manifest.normalise` holds the mean and std to apply. `classes` and
    `domains` are names in index order, `targets` and `domain_targets` the indices of every image (a domain of -1 is
    a mixture). Raises DataError when the bundle is invalid, or has soft labels, which no item would show.
    """

    def __init__(self, path: str | Path, transform: Callable[[Tensor], Any] | None = None) -> None:
        bundle = load_bundle(path)
        check_hard_labels(bundle, "DistilledSet")
        self.images = bundle.images  # (N, 3, H, W) uint8
        self.transform = transform
        self.manifest = bundle.manifest
        self.classes = list(bundle.manifest.classes)
        self.class_to_idx = {name: index for index, name in enumerate(self.classes)}
        self.domains = list(bundle.manifest.domains)
        self.targets: list[int] = bundle.labels.tolist()
        self.domain_targets: list[int] = bundle.domains.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.images[index]
        if self.transform is not None:
            return self.transform(image), self.targets[index]
        return image.to(torch.float32) / 255, self.targets[index]
