"""From a name and a generator to an initialised network."""

from __future__ import annotations

import torch

from dgdd_cli.errors import UnknownName, UsageError
from dgdd_cli.networks.backbone import DRAWN, Backbone, Builder
from dgdd_cli.networks.convnet import ConvNet
from dgdd_cli.networks.resnet import ResNet18

NETWORKS: dict[str, Builder] = {"convnet": ConvNet, "resnet18": ResNet18}


def build(name: str, *, num_classes: int, image_size: int, generator: torch.Generator, width: int = 128) -> Backbone:
    """Build the network `name` for float32 images (N, 3, image_size, image_size) with weights drawn from `generator`.

    `width` is the ConvNet's number of channels; ResNet-18 keeps its own. Raises UnknownName, and UsageError for a
    network that takes images of another size.
    """
    network = blueprint(name, num_classes=num_classes, image_size=image_size, width=width)
    network.to_empty(device="cpu")
    network.initialise(generator)
    return network


def blueprint(name: str, *, num_classes: int = 1, image_size: int, width: int = 128) -> Backbone:
    """The network `name` without content, on the meta device: what it says of itself, and its sizes."""
    if name not in NETWORKS:
        raise UnknownName("network", name, NETWORKS)
    with torch.device("meta"):  # constructors draw from global state: let them draw nothing
        network = NETWORKS[name](num_classes=num_classes, image_size=image_size, width=width)
    if network.input_size not in (None, image_size):
        raise UsageError(
            f"the network {name!r} takes images of {network.input_size} px, not of {image_size} px",
            hint=f"--image-size {network.input_size}",
        )
    return network


def foreign_weights(name: str, *, image_size: int) -> str | None:
    """Where the weights of the network `name` come from: what its backbone says, or None where they are drawn.

    Whatever is kept or compared by what a network makes of images holds this too.
    """
    identity = blueprint(name, image_size=image_size).identity
    return None if identity == DRAWN else identity
