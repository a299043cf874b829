"""Paired differences of a study: the same targets and seeds, so that what is hard for all says nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Difference:
    """`mean` over targets of the mean over seeds; standard error and half of the 95 % interval, None for one seed.

    `by_target`: the mean over seeds on each.
    """

    mean: float
    error: float | None
    interval: float | None
    by_target: Mapping[str, float]
    pairs: int


def paired_difference(ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]) -> Difference:
    """The difference of two recipes whose accuracies lie by target, seed by seed: T targets, s seeds.

    Targets are fixed, seeds are drawn: with d_ts the differences and d̄_t their mean on a target, the variance is that
    within targets, σ² = Σ_ts (d_ts − d̄_t)² / (T(s − 1)), the standard error σ / √(T s), and the interval that of
    Student's t with T(s − 1) degrees of freedom.
    """
    gaps = {t: [a - b for a, b in zip(ours[t], theirs[t], strict=True)] for t in ours}
    means = {target: statistics.fmean(own) for target, own in gaps.items()}
    seeds = {len(own) for own in gaps.values()}
    if len(seeds) != 1:
        raise ValueError("every target must have the same seeds")
    count = seeds.pop() * len(gaps)
    freedom = count - len(gaps)
    mean = statistics.fmean(means.values())
    if freedom < 1:
        return Difference(mean, None, None, means, count)
    within = math.fsum((gap - means[t]) ** 2 for t, own in gaps.items() for gap in own) / freedom
    error = math.sqrt(within / count)
    return Difference(mean, error, error * _student(freedom), means, count)


def _student(freedom: int) -> float:
    from scipy.stats import t  # takes a while to import

    return float(t.ppf(0.5 + CONFIDENCE / 2, freedom))
