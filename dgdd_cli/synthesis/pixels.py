"""The identity parameterisation: the stored images are the training images, pixels in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dgdd_cli.storage.layout import TensorRule


def to_unit(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) to float32 in [0, 1]."""
    return images.to(torch.float32) / 255


def to_bytes(images: Tensor) -> Tensor:
    """float32 in [0, 1] to uint8, rounded to the nearest level."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(x − mean) / std for float images (N, 3, H, W) in [0, 1]; mean and std (3,)."""
    return (images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


@dataclass(frozen=True, slots=True)
class Pixels:
    """The identity: what is stored are the training images themselves, (N, 3, H, W) in [0, 1]."""

    name: str = "pixels"
    factor: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def layout(self) -> dict[str, TensorRule]:
        return {"images": TensorRule("U8", 4)}

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        return {"images": images}

    def decode(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        images = tensors["images"]
        return images, torch.arange(len(images), device=images.device)

    def project(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"images": tensors["images"].clamp(0, 1)}

    def store(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"images": to_bytes(tensors["images"])}

    def load(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"images": to_unit(stored["images"])}
