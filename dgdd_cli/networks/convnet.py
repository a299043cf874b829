"""ConvNet-D, the network of the distillation literature (Gidaris & Komodakis 2018; Zhao & Bilen 2023)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from dgdd_cli.networks.backbone import DRAWN
from dgdd_cli.networks.halve import halve
from dgdd_cli.networks.slices import in_slices


def depth_for(image_size: int) -> int:
    """Blocks that leave a map of 4 to 7 pixels a side: 2, 3, 4, 5 for 16, 32, 64, 128 px."""
    return max(1, int(math.log2(image_size)) - 2)


class ConvNet(nn.Module):
    """Depth times [convolution 3x3, instance normalisation, ReLU, average pooling 2], then a linear classifier.

    The normalisation is GroupNorm with one group a channel, affine: an instance normalisation without running
    statistics. Input float (N, 3, S, S); features (N, width·(S / 2^depth)²), the flattened map of a block; logits
    (N, num_classes).
    """

    normalisation = None
    input_size = None
    trainable = True
    identity = DRAWN
    batch_normalised = False

    def __init__(self, *, num_classes: int, image_size: int, width: int = 128) -> None:
        super().__init__()
        depth = depth_for(image_size)
        channels = [3] + [width] * depth
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(channels)
        )
        self.normalisations = nn.ModuleList(nn.GroupNorm(width, width) for _ in range(depth))
        self.entrances = nn.ModuleList(nn.Identity() for _ in range(depth))  # a block's input, whole batch: for hooks
        self.width = width
        self.depths = tuple(f"block{number}" for number in range(1, depth + 1))
        self.classifier = nn.Linear(width * (image_size >> depth) ** 2, num_classes)

    def initialise(self, generator: torch.Generator) -> None:
        """PyTorch's default initialisation of each layer, drawn from `generator`."""
        for layer in [*self.convolutions, self.classifier]:
            weight, bias = layer.weight, layer.bias
            bound = 1 / math.sqrt(weight[0].numel())
            nn.init.uniform_(weight, -bound, bound, generator=generator)
            nn.init.uniform_(bias, -bound, bound, generator=generator)
        for layer in self.normalisations:
            assert isinstance(layer, nn.GroupNorm)
            layer.reset_parameters()  # ones and zeros: nothing is drawn

    def maps(self, images: Tensor, depths: Sequence[str]) -> tuple[Tensor, ...]:
        found: dict[str, Tensor] = {}
        maps = images
        for place in range(1 + max(map(self.depths.index, depths))):
            maps = self.entrances[place](maps)
            largest = self.width * maps.shape[-2] * maps.shape[-1] * maps.element_size()
            block = partial(_block, self.convolutions[place], self.normalisations[place])
            maps = in_slices(block, maps, widest=largest, kept=2 * largest)
            if self.depths[place] in depths:
                found[self.depths[place]] = maps
        return tuple(found[depth] for depth in depths)

    def features(self, images: Tensor, depth: str | None = None) -> Tensor:
        return self.maps(images, [depth or self.depths[-1]])[0].flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))


def _block(convolution: nn.Module, normalisation: nn.Module, maps: Tensor) -> Tensor:
    return halve(normalisation(convolution(maps)).relu_())  # no gradient reads the map before the ReLU
