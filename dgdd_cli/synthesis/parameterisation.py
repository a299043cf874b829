"""What is stored in the place of images, and how it decodes: one file a parameterisation, one entry in the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from dgdd_cli.errors import DataError, UnknownName
from dgdd_cli.synthesis.pixels import Pixels

Tensors = dict[str, Tensor]


class Parameterisation(Protocol):
    """N stored images as named tensors that decode to M training images, each owned by one of the stored ones.

    `settings` are what the manifest says of it beside its name. What is stored is what was optimised: `load(store(x))`
    decodes to the images that are evaluated.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    @property
    def factor(self) -> int:
        """How many training images lie along one side of a stored one: M = N · factor²."""
        ...

    def encode(self, images: Tensor) -> Tensors:
        """The tensors whose gradients are taken, from real images float32 (M, 3, H, W) in [0, 1], owner by owner."""
        ...

    def decode(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Training images float32 (M, 3, H, W) in [0, 1], differentiable in `tensors`, and owners int64 (M,)."""
        ...

    def project(self, tensors: Mapping[str, Tensor]) -> Tensors:
        """The nearest tensors that can be stored, after a step."""
        ...

    def store(self, tensors: Mapping[str, Tensor]) -> Tensors:
        """The tensors of the bundle, at their stored types."""
        ...

    def load(self, stored: Mapping[str, Tensor]) -> Tensors:
        """The tensors to decode, from those of a bundle. Raises ValueError for what `store` would not have written."""
        ...


Factory = Callable[[Mapping[str, Any], int], Parameterisation]  # settings, image size; raises UsageError

PARAMETERISATIONS: dict[str, Factory] = {"pixels": lambda settings, size: Pixels()}
STORED_AS = {"identity": "pixels"}  # the name that bundles of the schema dgdd/1 give to pixels


def parameterisation(name: str, settings: Mapping[str, Any], image_size: int) -> Parameterisation:
    """The parameterisation `name` for images of a size. Raises UnknownName, and UsageError where it does not fit."""
    known = STORED_AS.get(name, name)
    if known not in PARAMETERISATIONS:
        raise UnknownName("parameterisation", name, PARAMETERISATIONS)
    return PARAMETERISATIONS[known](settings, image_size)


def stored_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors at their stored types."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def check_stored(tensors: Mapping[str, Tensor], found: Parameterisation) -> Tensors:
    """The tensors to decode, from a bundle's; raises DataError where they are none of `found`'s."""
    try:
        return found.load(tensors)
    except ValueError as error:
        raise DataError(f"its {found.name} cannot be decoded: {error}") from error
