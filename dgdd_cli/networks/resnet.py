"""ResNet-18 from scratch: torchvision's, with the small-image stem at 64 px and below."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet18


class ResNet18(nn.Module):
    """torchvision's ResNet-18 without weights; images of at most 64 px get a 3x3 stem of stride 1 and no max pooling.

    Input float (N, 3, S, S); features (N, 512); logits (N, num_classes). `width` is accepted for a uniform
    signature and must stay at its default: the architecture is fixed.
    """

    def __init__(self, *, num_classes: int, image_size: int, width: int = 128) -> None:
        super().__init__()
        trunk = resnet18(weights=None, num_classes=num_classes)
        if image_size <= 64:
            trunk.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            trunk.maxpool = nn.Identity()
        self.classifier = trunk.fc
        trunk.fc = nn.Identity()
        self.trunk = trunk
        self.width = width

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

    def features(self, images: Tensor) -> Tensor:
        return self.trunk(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))
