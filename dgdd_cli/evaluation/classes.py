"""Whether a dataset has the classes of a bundle, in the same order: labels are indices."""

from __future__ import annotations

from collections.abc import Sequence

from dgdd_cli.bundle.read import Bundle
from dgdd_cli.data.catalog import fold
from dgdd_cli.data.layout import listed
from dgdd_cli.errors import DataError


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
