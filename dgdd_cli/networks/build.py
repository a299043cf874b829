"""From a name and a generator to an initialised network."""

from __future__ import annotations

import torch

from dgdd_cli.errors import UnknownName
from dgdd_cli.networks.convnet import ConvNet
from dgdd_cli.networks.resnet import ResNet18

Network = ConvNet | ResNet18  # both give features (N, F) for matching and logits (N, num_classes)

NETWORKS: dict[str, type[ConvNet] | type[ResNet18]] = {"convnet": ConvNet, "resnet18": ResNet18}
BATCH_NORMALISED = frozenset({"resnet18"})  # what these make of an image depends on the others in its batch


def build(name: str, *, num_classes: int, image_size: int, generator: torch.Generator, width: int = 128) -> Network:
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
