"""A palette of colours and which of them each pixel has: a parameterisation that stores no `images`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dgdd_cli.storage.layout import TensorRule


@dataclass(frozen=True, slots=True)
class Palette:
    side: int
    name: str = "palette"
    factor: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def layout(self) -> dict[str, TensorRule]:
        return {"colours": TensorRule("F32", 2), "indices": TensorRule("U8", 3)}

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        pixels = images.permute(0, 2, 3, 1)  # (N, H, W, 3)
        colours, indices = pixels.reshape(-1, 3).unique(dim=0, return_inverse=True)
        return {"colours": colours, "indices": indices.reshape(pixels.shape[:3])}

    def decode(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        images = tensors["colours"][tensors["indices"]].permute(0, 3, 1, 2)
        return images, torch.arange(len(images))

    def project(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**tensors, "colours": tensors["colours"].clamp(0, 1)}

    def store(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"colours": tensors["colours"], "indices": tensors["indices"].to(torch.uint8)}

    def load(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"colours": stored["colours"], "indices": stored["indices"].long()}
