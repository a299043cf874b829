"""What is stored in the place of images, and how it decodes: one file a parameterisation, one entry in the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from dgdd_cli.errors import UnknownName
from dgdd_cli.storage.layout import TensorRule
from dgdd_cli.synthesis.pixels import Pixels, to_bytes
from dgdd_cli.synthesis.tiles import tiles
from dgdd_cli.text import canonical_json

Tensors = dict[str, Tensor]

ROUNDING = 1e-4  # of decoded pixels in float32


class Parameterisation(Protocol):
    """N stored images as named tensors that decode to M training images, each owned by one of the stored ones.

    `settings` are what the manifest says of it beside its name, `layout` says which tensors a bundle holds. What is
    stored is what was optimised: `load(store(x))` decodes to the images that are evaluated. Training images come owner
    by owner: those of the first stored image, tile by tile, then those of the second.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    @property
    def layout(self) -> Mapping[str, TensorRule]: ...

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


# Settings and the side of the training images; raises UsageError for an image size that does not fit, ValueError (or
# TypeError, KeyError) for settings that are none.
Factory = Callable[[Mapping[str, Any], int], Parameterisation]

PARAMETERISATIONS: dict[str, Factory] = {"pixels": lambda settings, size: Pixels(), "tiles": tiles}
STORED_AS = {"pixels": "identity"}  # the name that bundles of the schema dgdd/1 give to pixels
BAD_TENSORS = (ValueError, RuntimeError, TypeError, LookupError)  # what arithmetic raises on tensors that do not fit


def parameterisation(name: str, settings: Mapping[str, Any], image_size: int) -> Parameterisation:
    """The parameterisation `name` for images of a size.

    Raises UnknownName, UsageError where the image size does not fit, ValueError for settings that are not its own.
    """
    if name not in PARAMETERISATIONS:
        raise UnknownName("parameterisation", name, PARAMETERISATIONS)
    try:
        found = PARAMETERISATIONS[name](settings, image_size)
    except (TypeError, LookupError) as error:
        raise ValueError(f"its settings are none of {name!r}: {error}") from error
    if canonical_json(dict(found.settings)) != canonical_json(dict(settings)):
        raise ValueError(f"its settings are none of {name!r}, which would state {canonical_json(dict(found.settings))}")
    return found


def stated(found: Parameterisation) -> dict[str, Any]:
    """What the manifest says of a parameterisation: its name there and its settings."""
    return {"name": STORED_AS.get(found.name, found.name), **found.settings}


def owners_of(stored: int, factor: int) -> Tensor:
    """Which of N stored images owns each training image, in their order: int64 (N · factor²)."""
    return torch.arange(stored).repeat_interleave(factor**2)


def training_images(found: Parameterisation, stored: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The images that are evaluated, exported and shown: uint8 (M, 3, H, W), rounded to the nearest level; owners (M,).

    Pixels are what they are, without a copy. Raises ValueError for tensors that do not decode to images in [0, 1].
    """
    if isinstance(found, Pixels):
        return stored["images"], owners_of(len(stored["images"]), 1)
    try:
        with torch.no_grad():
            images, owners = found.decode(found.load(stored))
    except BAD_TENSORS as error:
        raise ValueError(f"its {found.name} cannot be decoded: {error}") from error
    least, most = (float(value) for value in images.aminmax()) if images.numel() else (0.0, 0.0)
    if not (least >= -ROUNDING and most <= 1 + ROUNDING):  # NaN is neither
        raise ValueError(f"its {found.name} decode to pixels from {least:.3g} to {most:.3g}, outside 0 to 1")
    return to_bytes(images), owners


def stored_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors at their stored types."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
