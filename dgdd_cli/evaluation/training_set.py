"""The images that a network is trained on."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class TrainingSet(NamedTuple):
    """Images with a class each and, where known, the domain they come from."""

    images: Tensor  # (N, 3, H, W) uint8
    labels: Tensor  # (N,) int64
    domains: Tensor  # (N,) int64 in [-1, D); -1 = mixed
