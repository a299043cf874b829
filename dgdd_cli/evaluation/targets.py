"""What is tested on: the images of a target domain, as they are or shifted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dgdd_cli.data.dataset import with_pixels
from dgdd_cli.data.hold_out import VALIDATION, missing_classes
from dgdd_cli.data.images import Images
from dgdd_cli.errors import DataError
from dgdd_cli.evaluation.corruptions import shift
from dgdd_cli.runtime.seeds import stream

log = logging.getLogger("dgdd")


@dataclass(frozen=True, slots=True)
class Target:
    """A target domain, or what bundles left out of their sources for validation: its clean images, or a corrupted copy,
    which keeps the clean images' fingerprint."""

    name: str
    dataset: Images
    fingerprint: str
    corruption: str | None = None
    validation: bool = False

    @property
    def key(self) -> str:
        """Unlike any other's: the name of a domain holds no line break."""
        return f"{self.name}\n{self.corruption}" if self.corruption else self.name


def targets_of(
    names: Sequence[str],
    load: Callable[[Sequence[str]], Images],
    *,
    corruptions: Sequence[str],
    seed: int,
    allow_missing_classes: bool,
    validation: Images | None = None,
) -> list[Target]:
    """The targets in the order named, each once, followed by its corrupted copies; `validation` is the last.

    Raises DataError for a target in which a class has no image, unless that is allowed: then it is a warning.
    """
    found = []
    sets = {name: load((name,)) for name in dict.fromkeys(names)}
    wanted = [Target(name, own, own.domain_fingerprints()[name]) for name, own in sets.items()]
    if validation is not None:
        wanted.append(Target(VALIDATION, validation, validation.fingerprint(), validation=True))
    for clean in wanted:
        _check_classes(clean, allow_missing_classes)
        copies = [corrupted(clean, corruption, seed) for corruption in dict.fromkeys(corruptions)]
        found += [clean, *copies]
    return found


def corrupted(clean: Target, corruption: str, seed: int) -> Target:
    """A shifted copy, in memory; what chance it needs depends on the seed and the domain's name alone."""
    generator = stream(seed, "evaluation", "corruption", corruption, clean.name)
    shifted = with_pixels(clean.dataset, shift(clean.dataset, corruption, generator))
    return replace(clean, dataset=shifted, corruption=corruption)


def _check_classes(target: Target, allow_missing_classes: bool) -> None:
    for line in () if target.validation else target.dataset.notes:
        log.warning("%s", line)
    if missing := missing_classes(target.dataset):
        message = f"the target {target.name!r} has no image of: {', '.join(missing)}"
        if not allow_missing_classes:
            raise DataError(message, hint="--allow-missing-classes leaves these classes out of the figures")
        log.warning("%s", message)
