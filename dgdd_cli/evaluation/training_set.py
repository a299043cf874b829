"""The images that a network is trained on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.synthesis.labels import Labels


class TrainingSet(NamedTuple):
    """Images with what each is taught and, where known, the domain it comes from."""

    images: Tensor  # (N, 3, H, W) uint8
    labels: Labels  # of N images
    domains: Tensor  # (N,) int64 in [-1, D); -1 = mixed

    def to(self, device: torch.device) -> TrainingSet:
        """The same set on a device."""
        return TrainingSet(self.images.to(device), self.labels.to(device), self.domains.to(device))


def real_images(source: DomainDataset, rows: Tensor | slice = slice(None)) -> TrainingSet:
    """Some images of a dataset, or all, each with its class."""
    return TrainingSet(source.images[rows], Labels("hard", source.labels[rows]), source.domains[rows])
