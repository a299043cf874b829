"""One training set in a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.evaluation.training_set import TrainingSet


@dataclass(frozen=True, slots=True)
class Contestant:
    """A training set in the comparison: a bundle, or a baseline that draws other images for every repeat.

    `draw` gives the set of a repeat; where `fixed`, the same for every one. `fingerprints`: of the source domains it
    was made from, by name. `source`: the fingerprint of the whole source set of a baseline, whose scores may then be
    kept; None for what is trained anew every time.
    """

    name: str
    method: str
    kind: str  # "bundle" or "baseline"
    sources: tuple[str, ...]
    normalisation: Normalisation
    epochs: int
    images: int
    draw: Callable[[int], TrainingSet]
    fixed: bool = False
    bundle_id: str | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
