"""From a name and a generator to an initialised network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from dgdd_cli.errors import UnknownName
from dgdd_cli.networks.convnet import ConvNet
from dgdd_cli.networks.resnet import ResNet18


class Network(Protocol):
    """What a network offers: features (N, F) for matching, logits (N, num_classes) for classification."""

    def features(self, images: Tensor) -> Tensor: ...

    def __call__(self, images: Tensor) -> Tensor: ...


NETWORKS: dict[str, Callable[..., nn.Module]] = {"convnet": ConvNet, "resnet18": ResNet18}


def build(
    name: str, *, num_classes: int, image_size: int, generator: torch.Generator, width: int = 128
) -> ConvNet | ResNet18:
    """Build the network `name` for float32 images (N, 3, image_size, image_size) with weights drawn from `generator`.

    `width` is the ConvNet's number of channels; ResNet-18 keeps its own. Raises UnknownName.
    """
    if name not in NETWORKS:
        raise UnknownName("network", name, NETWORKS)
    with torch.device("meta"):  # the constructors draw from global state: let them draw nothing
        network = NETWORKS[name](num_classes=num_classes, image_size=image_size, width=width)
    network.to_empty(device="cpu")
    network.initialise(generator)
    return network
