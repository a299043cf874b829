"""What the bundles themselves say to evaluate on: dataset, image size, target, classes."""

from __future__ import annotations

from collections.abc import Sequence

from dgdd_cli.bundle.read import Bundle
from dgdd_cli.data.catalog import entry_for, fold
from dgdd_cli.data.layout import listed
from dgdd_cli.errors import DataError, UsageError


def dataset_of(bundles: Sequence[Bundle]) -> str:
    """The dataset that all bundles come from. Raises UsageError where it has no name of its own."""
    names = {bundle.manifest.source.dataset for bundle in bundles}
    if len(names) > 1:
        raise UsageError(f"the bundles come from several datasets: {', '.join(sorted(names))}", hint="--dataset NAME")
    (name,) = names
    if entry_for(name) is None:  # a bundle never holds the path of somebody's folder
        raise UsageError(f"{name!r} is a folder set: say where it lies", hint=f"--dataset path/to/{name}")
    return name


def image_size_of(bundles: Sequence[Bundle]) -> int:
    """The side of the images, the same in all bundles. Raises UsageError or DataError."""
    sizes = {(bundle.manifest.images.height, bundle.manifest.images.width) for bundle in bundles}
    if len(sizes) > 1:
        raise UsageError("the bundles have images of several sizes", hint="evaluate them in separate calls")
    height, width = sizes.pop()
    if height != width:
        raise DataError(f"images of {height} x {width} pixels: only square ones can be evaluated")
    return height


def own_targets(bundles: Sequence[Bundle]) -> list[str]:
    """The domain that the bundles hold out. Raises UsageError unless there is exactly one."""
    targets = [bundle.manifest.target for bundle in bundles]
    if None in targets:
        raise UsageError("a bundle holds no domain out: say what to test on", hint="--target DOMAIN")
    names = [name for name in dict.fromkeys(targets) if name is not None]
    if len(names) > 1:  # one bundle's target is another's source: nobody asked for that comparison
        raise UsageError(
            "the bundles hold out different domains", hint=f"--target {','.join(names)}, or separate calls"
        )
    return names


def check_classes(bundle: Bundle, class_names: Sequence[str], dataset: str) -> None:
    """Raise DataError that names the differences, unless the dataset's classes are the bundle's in the same order."""
    if tuple(class_names) == bundle.manifest.classes:
        return
    raise DataError(
        f"{bundle.path} was distilled for other classes than those of {dataset!r}: "
        f"{_difference(bundle.manifest.classes, class_names)}",
        hint="--dataset NAME_OR_FOLDER names the dataset to test on",
    )


def _difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    missing = [name for name in ours if name not in theirs]
    extra = [name for name in theirs if name not in ours]
    spelt = {name: other for name in missing for other in extra if fold(name) == fold(other)}
    missing = [name for name in missing if name not in spelt]
    extra = [name for name in extra if name not in spelt.values()]
    parts = [f"{listed(list(spelt))} written {listed(list(spelt.values()))} there"] if spelt else []
    parts += [f"missing there: {listed(missing)}"] if missing else []
    parts += [f"only there: {listed(extra)}"] if extra else []
    return "; ".join(parts) or f"the same names in another order, {listed(list(theirs))}"
