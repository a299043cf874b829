"""Tiles: f x f training images at 1/f of the side in each stored image (IDC, Kim et al. 2022, section 4.2)."""

from __future__ import annotations

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
class Tiles:
    """A stored image (3, H, H) is a grid of f x f tiles, row by row; each decodes, enlarged bilinearly, to (3, H, H).

    Decoding is linear in the stored pixels, and its weights sum to one: pixels in [0, 1] decode to pixels in [0, 1].
    """

    factor: int
    side: int
    name: str = "tiles"

    @property
    def settings(self) -> dict[str, Any]:
        return {"factor": self.factor}

    @property
    def layout(self) -> dict[str, TensorRule]:
        return {"images": TensorRule("U8", 4)}

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Real images (N·f², 3, H, H), each averaged down to its tile: (N, 3, H, H)."""
        f = self.factor
        tiles = F.avg_pool2d(images, f).unflatten(0, (-1, f, f))  # (N, f, f, 3, H/f, H/f)
        return {"images": tiles.permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, self.side, self.side)}

    def decode(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        f, images = self.factor, tensors["images"]
        tiles = images.unflatten(3, (f, -1)).unflatten(2, (f, -1)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        enlarged = F.interpolate(tiles, scale_factor=f, mode="bilinear", align_corners=False)
        return enlarged, torch.arange(len(images), device=images.device).repeat_interleave(f * f)

    def project(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"images": tensors["images"].clamp(0, 1)}

    def store(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"images": to_bytes(tensors["images"])}

    def load(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if tuple(stored["images"].shape[1:]) != (3, self.side, self.side):
            raise ValueError(f"tiles lie in images of {self.side} pixels, not {tuple(stored['images'].shape)}")
        return {"images": to_unit(stored["images"])}


def tiles(settings: Mapping[str, Any], image_size: int) -> Tiles:
    """Tiles for images of a size. Raises UsageError for a factor that is none or does not divide it."""
    factor = settings.get("factor")
    if type(factor) is not int or factor < 2:
        raise UsageError(f"factor is {factor!r}: not a whole number from 1 on", hint="--factor 2")
    if image_size % factor:
        fits = [f for f in range(2, min(image_size, 8) + 1) if image_size % f == 0]
        raise UsageError(
            f"a factor of {factor} does not divide images of {image_size} pixels",
            hint=f"--factor {', '.join(map(str, [1, *fits]))}",
        )
    return Tiles(factor, image_size)
