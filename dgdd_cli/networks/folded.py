"""R ConvNets that are mapped over at once: their channels lie side by side, so that each layer is one grouped kernel.

Mapped as it stands, a block copies its maps for the normalisation and again for the pooling, both ways, and the
affine part of the normalisation becomes kernels of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgdd_cli.networks.convnet import ConvNet
from dgdd_cli.networks.halve import halve


class FoldedConvNet(nn.Module):
    """The layers of a ConvNet under their own names, to be called within `torch.func.vmap` over images and weights."""

    def __init__(self, network: ConvNet) -> None:
        super().__init__()
        self.convolutions = network.convolutions
        self.normalisations = network.normalisations
        self.classifier = network.classifier
        # a tuple, so that each parameter keeps one name
        self.blocks = tuple(map(_Block, network.convolutions, network.normalisations))

    def features(self, images: Tensor) -> Tensor:
        maps = images
        for block in self.blocks:
            maps = block(maps)
        return maps.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))


class _Block(nn.Module):
    def __init__(self, convolution: nn.Module, normalisation: nn.Module) -> None:
        super().__init__()
        self.convolution, self.normalisation = convolution, normalisation

    def forward(self, maps: Tensor) -> Tensor:
        own, after = self.convolution, self.normalisation
        return _Folded.apply(maps, own.weight, own.bias, after.weight, after.bias)


class _Folded(torch.autograd.Function):
    """One block under vmap: (R, B, C, H, W) is computed as (B, R·C, H, W) by operations that autograd knows."""

    @staticmethod
    def forward(*arguments: Tensor) -> Tensor:
        raise NotImplementedError("only within vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Never reached: the operations within `vmap` keep what their gradients need."""

    @staticmethod
    def vmap(info: Any, dims: tuple[int, ...], maps: Tensor, *parameters: Tensor) -> tuple[Tensor, int]:
        weight, bias, scale, shift = (
            value.movedim(dim, 0).flatten(0, 1) for value, dim in zip(parameters, dims[1:], strict=True)
        )
        folded = maps.movedim(dims[0], 1).flatten(1, 2)  # (B, R·C, H, W)
        folded = F.conv2d(folded, weight, bias, padding=1, groups=info.batch_size)
        folded = halve(F.group_norm(folded, folded.shape[1], scale, shift).relu_())
        return folded.unflatten(1, (info.batch_size, -1)), 1
