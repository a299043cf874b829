"""Who says what training images are taught: one file a labeller, one entry in the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from dgdd_cli.data.images import Images
from dgdd_cli.errors import UnknownName, UsageError
from dgdd_cli.runtime.context import Context
from dgdd_cli.synthesis.labels import Labels

# (context, source, images uint8 (M, 3, H, W), classes int64 (M,)) -> what each image is taught. The source set is there
# for labels that are solved or asked of a teacher; the images are those that are evaluated, rounded and decoded.
Labeller = Callable[[Context, Images, Tensor, Tensor], Labels]
Factory = Callable[[Mapping[str, Any]], Labeller]  # from its settings; raises ValueError, TypeError or KeyError


def hard(settings: Mapping[str, Any]) -> Labeller:
    """The class of each image, and nothing else."""
    if settings:
        raise ValueError(f"hard labels have no settings, and {min(settings)!r} is given")
    return lambda context, source, images, classes: Labels("hard", classes)


LABELLERS: dict[str, Factory] = {"hard": hard}


def labeller(name: str, settings: Mapping[str, Any]) -> Labeller:
    """The labeller `name` with its settings. Raises UnknownName, and UsageError for settings that are not its own."""
    if name not in LABELLERS:
        raise UnknownName("labeller", name, LABELLERS)
    try:
        return LABELLERS[name](settings)
    except (ValueError, TypeError, LookupError) as error:
        raise UsageError(f"labels: {error}", hint="--set labels.name=hard") from error


def label(
    name: str, settings: Mapping[str, Any], context: Context, source: Images, images: Tensor, classes: Tensor
) -> Labels:
    """What the labeller `name` teaches about training images uint8 (M, 3, H, W) of the classes (M,).

    Raises UsageError where it gives labels of other images or classes than it was asked about.
    """
    found = labeller(name, settings)(context, source, images, classes)
    wanted = (len(images), len(source.class_names))
    if not found.classes.equal(classes) or (found.soft is not None and tuple(found.soft.shape) != wanted):
        raise UsageError(
            f"the labeller {name!r} gives no labels (M, C) = {wanted} of the classes that it was asked about",
            hint="--set labels.name=hard",
        )
    return found
