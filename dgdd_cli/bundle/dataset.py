"""A distilled set for training loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dgdd_cli.bundle.read import load_bundle


class DistilledSet(Dataset[tuple[Any, Any]]):
    """The training images and labels of a bundle, as torchvision's datasets give them.

    Items are (image, label): the image is float32 (3, H, W) in [0, 1], or what `transform` makes of the decoded
    uint8 (3, H, W); it is not normalised: `manifest.normalise` holds the mean and std to apply. The label is the index
    of the class, or with soft labels (`labels.kind` says which) the row of the image, float32 (C,). `classes` and
    `domains` are names in index order, `targets` and `domain_targets` the indices of every image (a domain of -1 is a
    mixture). The images come owner by owner (see Bundle). Raises DataError when the bundle is invalid.
    """

    def __init__(self, path: str | Path, transform: Callable[[Tensor], Any] | None = None) -> None:
        bundle = load_bundle(path)
        self.images, self.labels, domains = bundle.labelled()  # (M, 3, H, W) uint8, Labels, (M,)
        self.transform = transform
        self.manifest = bundle.manifest
        self.classes = list(bundle.manifest.classes)
        self.class_to_idx = {name: index for index, name in enumerate(self.classes)}
        self.domains = list(bundle.manifest.domains)
        self.targets: list[int] = self.labels.classes.tolist()
        self.domain_targets: list[int] = domains.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = self.images[index]
        label = self.targets[index] if self.labels.soft is None else self.labels.soft[index]
        if self.transform is not None:
            return self.transform(image), label
        return image.to(torch.float32) / 255, label
