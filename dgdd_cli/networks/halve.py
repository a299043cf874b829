"""Average pooling 2 x 2, several times faster on a CPU than the library's, forwards and backwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def halve(maps: Tensor) -> Tensor:
    """Average pooling 2 x 2 of (N, C, H, W); an odd last row or column is left out, as by `avg_pool2d`."""
    if maps.device.type != "cpu":
        return F.avg_pool2d(maps, 2)
    height, width = maps.shape[-2] // 2, maps.shape[-1] // 2
    return _Halve.apply(maps[..., : 2 * height, : 2 * width])


class _Halve(torch.autograd.Function):
    """Both directions are differentiable torch, so that gradients of gradients pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor) -> Tensor:
        n, channels, height, width = maps.shape
        # rows first, as contiguous halves
        rows = maps.reshape(n * channels, height // 2, 2 * width)
        pairs = (rows[..., :width] + rows[..., width:]).view(n, channels, height // 2, width // 2, 2)
        return (pairs[..., 0] + pairs[..., 1]) * 0.25

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing is kept: the gradient does not depend on the maps."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        n, channels, height, width = gradient.shape
        quarter = gradient * 0.25
        wide = torch.stack((quarter, quarter), -1).view(n * channels, height, 1, 2 * width)
        return wide.expand(-1, -1, 2, -1).reshape(n, channels, 2 * height, 2 * width)
