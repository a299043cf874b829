"""A foreign network, torchvision's ShuffleNet, as a backbone: what a user writes to distil and evaluate with it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import shufflenet_v2_x0_5

from dgdd_cli.data.dataset import Normalisation


class Shuffled(nn.Module):
    depths = ("stage2", "stage3", "stage4")
    normalisation = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet")
    input_size = None
    trainable = True
    identity = "drawn"
    batch_normalised = True

    def __init__(self, *, num_classes: int, image_size: int, width: int) -> None:
        super().__init__()
        self.trunk = shufflenet_v2_x0_5(weights=None, num_classes=num_classes)
        self.trunk.conv1[0].stride = (1, 1)
        self.classifier, self.trunk.fc = self.trunk.fc, nn.Identity()

    def initialise(self, generator: torch.Generator) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
        nn.init.normal_(self.classifier.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.classifier.bias)

    def maps(self, images: Tensor, depths: Sequence[str]) -> tuple[Tensor, ...]:
        found = {}
        maps = self.trunk.maxpool(self.trunk.conv1(images))
        for depth in self.depths[: 1 + max(map(self.depths.index, depths))]:
            maps = found[depth] = getattr(self.trunk, depth)(maps)
        return tuple(found[depth] for depth in depths)

    def features(self, images: Tensor, depth: str | None = None) -> Tensor:
        if depth is None:
            return self.trunk(images)
        return self.maps(images, [depth])[0].mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))
