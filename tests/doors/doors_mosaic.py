"""Mosaic: f x f training images at 1/f of the side in each stored image; what a user writes to store images so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dgdd_cli.errors import UsageError
from dgdd_cli.storage.layout import TensorRule
from dgdd_cli.synthesis.pixels import to_bytes, to_unit


@dataclass(frozen=True, slots=True)
class Mosaic:
    factor: int
    side: int
    name: str = "mosaic"

    @property
    def settings(self) -> dict[str, Any]:
        return {"factor": self.factor}

    @property
    def layout(self) -> dict[str, TensorRule]:
        return {"images": TensorRule("U8", 4)}

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        f, small = self.factor, F.avg_pool2d(images, self.factor)
        rows = small.unflatten(0, (-1, f, f)).permute(0, 3, 1, 4, 2, 5)  # (N, 3, f, H/f, f, W/f)
        return {"images": rows.reshape(-1, 3, self.side, self.side)}

    def decode(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        f, images = self.factor, tensors["images"]
        tiles = images.unflatten(3, (f, -1)).unflatten(2, (f, -1)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        grown = F.interpolate(tiles, scale_factor=f, mode="bilinear")
        return grown, torch.arange(len(images), device=images.device).repeat_interleave(f * f)

    def project(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"images": tensors["images"].clamp(0, 1)}

    def store(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"images": to_bytes(tensors["images"])}

    def load(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if tuple(stored["images"].shape[1:]) != (3, self.side, self.side):
            raise ValueError(f"tiles lie in images of {self.side} pixels, not {tuple(stored['images'].shape)}")
        return {"images": to_unit(stored["images"])}


def mosaic(settings: Mapping[str, Any], image_size: int) -> Mosaic:
    factor = settings["factor"]
    if type(factor) is not int or factor < 2:
        raise ValueError(f"factor is {factor!r}, not a whole number from 2 on")
    if image_size % factor:
        raise UsageError(f"{factor} x {factor} tiles do not divide {image_size} pixels", hint="--image-size 32")
    return Mosaic(factor, image_size)
