"""ResNet-18 from scratch: torchvision's, with the small-image stem at 64 px and below."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from dgdd_cli.networks.backbone import DRAWN


class ResNet18(nn.Module):
    """torchvision's ResNet-18 without weights; images of at most 64 px get a 3x3 stem of stride 1 and no max pooling.

    Input float (N, 3, S, S); features (N, 512), the means of a layer's maps; logits (N, num_classes). `width` is
    accepted for a uniform signature: the architecture is fixed.
    """

    depths = ("layer1", "layer2", "layer3", "layer4")
    normalisation = None
    input_size = None
    trainable = True
    identity = DRAWN
    batch_normalised = True

    def __init__(self, *, num_classes: int, image_size: int, width: int = 128) -> None:
        super().__init__()
        trunk = resnet18(weights=None, num_classes=num_classes)
        if image_size <= 64:
            trunk.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            trunk.maxpool = nn.Identity()
        self.classifier = trunk.fc
        trunk.fc = nn.Identity()
        self.trunk = trunk

    def initialise(self, generator: torch.Generator) -> None:
        """He initialisation (fan-out) of the convolutions and PyTorch's default of the classifier (He et al. 2015)."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
            elif isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    def maps(self, images: Tensor, depths: Sequence[str]) -> tuple[Tensor, ...]:
        trunk, found = self.trunk, dict[str, Tensor]()
        maps = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(images))))
        for depth in self.depths[: 1 + max(map(self.depths.index, depths))]:
            maps = found[depth] = getattr(trunk, depth)(maps)
        return tuple(found[depth] for depth in depths)

    def features(self, images: Tensor, depth: str | None = None) -> Tensor:
        return self.trunk.avgpool(self.maps(images, [depth or self.depths[-1]])[0]).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))
