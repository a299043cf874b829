"""From the tensors of a bundle to its training images, as the manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dgdd_cli.bundle.manifest import Manifest, parse
from dgdd_cli.errors import UnknownName, UsageError
from dgdd_cli.storage.foreign import Foreign
from dgdd_cli.storage.header import MAX_FILE_BYTES
from dgdd_cli.storage.layout import TensorRule
from dgdd_cli.synthesis.codec import LAYOUT as CODED
from dgdd_cli.synthesis.codec import Codec, codec_named, decode
from dgdd_cli.synthesis.parameterisation import (
    PARAMETERISATIONS,
    STORED_AS,
    Parameterisation,
    owners_of,
    parameterisation,
    stated,
    training_images,
)
from dgdd_cli.text import plural, printable

_CODED_AS = {name: known for known, name in STORED_AS.items()}


def parameterisation_of(manifest: Manifest) -> Parameterisation:
    """What a bundle's stored images decode through; raises ValueError for one that is unknown or does not fit."""
    synthesis, size = manifest.synthesis, manifest.images
    name = _CODED_AS.get(synthesis.name, synthesis.name)
    try:
        found = parameterisation(name, synthesis.settings, min(size.height, size.width))
    except UnknownName as error:
        raise Foreign(
            f"synthesis.name: {printable(error.message)}, through which its images decode",
            f"known: {', '.join(sorted(PARAMETERISATIONS))}\na newer version or the module that registers it reads it",
        ) from error
    except UsageError as error:
        raise ValueError(f"synthesis: {printable(error.message)}") from error
    except ValueError as error:
        raise ValueError(f"synthesis: {printable(str(error))}") from error
    if stated(found) != synthesis.document():
        raise ValueError(f"synthesis.name: {printable(synthesis.name)!r} is stated as {stated(found)['name']!r}")
    if size.height != size.width and name != "pixels":
        raise ValueError(f"synthesis: {name!r} decodes to square images, not to {size.height} x {size.width} pixels")
    decoded_bytes = size.count * found.factor**2 * 3 * size.height * size.width
    if decoded_bytes > MAX_FILE_BYTES:
        raise ValueError(f"it decodes to {decoded_bytes:,} bytes, more than the {MAX_FILE_BYTES:,} that are read")
    return found


def synthesis_in_words(manifest: Manifest) -> str | None:
    """Through what the stored images decode to how many, on one line; None for pixels."""
    found = parameterisation_of(manifest)
    if found.name == "pixels":
        return None
    settings = ", ".join(f"{name} {printable(str(value), length=40)}" for name, value in found.settings.items())
    stored = manifest.images.count
    decoded_to = plural(stored * found.factor**2, "training image")
    return f"{found.name}{f' ({settings})' if settings else ''}: {stored:,} stored decode to {decoded_to}"


def codec_of(manifest: Manifest) -> Codec | None:
    """What the stored images are encoded by; None for raw pixels."""
    return None if manifest.codec is None else codec_named(manifest.codec)


def layout_of(manifest: Manifest) -> Mapping[str, TensorRule]:
    """The tensors that a bundle holds in the place of images; raises ValueError."""
    found = parameterisation_of(manifest).layout
    if manifest.codec is None:
        return found
    if "images" not in found:
        raise ValueError(f"codec: {manifest.codec} encodes images, and its synthesis stores {', '.join(found)}")
    return {**{name: rule for name, rule in found.items() if name != "images"}, **CODED}


def stored_layout(document: Mapping[str, Any]) -> Mapping[str, TensorRule]:
    """The same from a document; raises ValueError."""
    return layout_of(parse(Manifest, document))


def decoded(tensors: Mapping[str, Tensor], manifest: Manifest) -> Tensor:
    """The training images uint8 (M, 3, H, W), owner by owner; raises ValueError unless they are what is stated."""
    found, size = parameterisation_of(manifest), manifest.images
    stored = decode(tensors, codec_of(manifest), count=size.count, height=size.height, width=size.width)
    images, owners = training_images(found, stored)
    wanted = (size.count * found.factor**2, 3, size.height, size.width)
    if tuple(images.shape) != wanted:
        raise ValueError(f"its images have shape {tuple(images.shape)}, its manifest asks {wanted}")
    if not torch.equal(owners, owners_of(size.count, found.factor)):
        raise ValueError(f"{found.name!r} does not decode owner by owner")
    return images
