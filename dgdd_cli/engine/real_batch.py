"""Batches of real images for gradient matching: of every class equally many, dealt evenly from its strata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.risk.kmeans import kmeans
from dgdd_cli.synthesis.initial import deal, representatives

CANDIDATES = 2  # images that K-means chooses one representative from
LLOYD = 5  # iterations: the representatives serve one network, not a record


@dataclass(frozen=True, slots=True, eq=False)
class ClassBatch:
    """Rows of the source set, int64 (C, B), and how many drawn images each stands for, float32 (C, B): 0 for those
    that fill up a small class."""

    rows: Tensor
    weights: Tensor


Strata = Sequence[Sequence[Tensor]]  # for each class, the rows of each stratum


def draw_batch(strata: Strata, size: int, generator: torch.Generator) -> ClassBatch:
    """`size` random images of each class, all of them where it has fewer, dealt from its strata in turn."""
    dealt = [torch.tensor(deal(own, size, 0, generator), dtype=torch.int64) for own in strata]
    return _filled(dealt, [torch.ones(len(rows)) for rows in dealt], size)


def draw_representatives(
    strata: Strata, size: int, generator: torch.Generator, features: Callable[[Tensor], Tensor]
) -> ClassBatch:
    """The images nearest to K-means centroids among twice as many random ones, `size` of each class, dealt evenly from
    its strata and found within each; a representative stands for the images that are nearest to it.

    Without that weight the batch would be made of outliers, which have a centroid each. `features` maps rows (n,) to
    (n, F); a class with at most `size` images gives all of them.
    """
    counts = [_shares([len(rows) for rows in own], size) for own in strata]
    candidates = [
        rows[torch.randperm(len(rows), generator=generator)[: CANDIDATES * count]]
        for own, shares in zip(strata, counts, strict=True)
        for rows, count in zip(own, shares, strict=True)
    ]
    points = iter(features(torch.cat(candidates)).split([len(rows) for rows in candidates]))
    left = iter(candidates)
    dealt, weights = [], []
    for shares in counts:
        found = [_representatives(next(left), next(points), count, generator) for count in shares]
        dealt.append(torch.cat([rows for rows, _ in found]))
        weights.append(torch.cat([standing_for for _, standing_for in found]))
    return _filled(dealt, weights, size)


def _representatives(rows: Tensor, points: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` of the rows (n,) and what each stands for, float32, together `count`."""
    if len(rows) <= count:
        return rows, torch.ones(len(rows))
    centroids = kmeans(points, count, generator, restarts=1, iterations=LLOYD).centroids
    chosen = representatives(points, centroids, count)
    nearest = torch.cdist(points, points[chosen]).argmin(1)
    return rows[chosen], torch.bincount(nearest, minlength=count) * (count / len(rows))


def _shares(lengths: Sequence[int], count: int) -> list[int]:
    """How many of `count` each stratum gives when they are dealt in turn and none gives more than it has."""
    shares = [0] * len(lengths)
    while sum(shares) < min(count, sum(lengths)):
        for stratum, length in enumerate(lengths):
            if shares[stratum] < length and sum(shares) < count:
                shares[stratum] += 1
    return shares


def strata_of(labels: Tensor, strata: Tensor, num_classes: int) -> list[list[Tensor]]:
    """For each class, the rows of each of its strata that has any: labels and strata int64 (N,)."""
    found = []
    for label in range(num_classes):
        rows = (labels == label).nonzero().squeeze(1)
        found.append([rows[strata[rows] == stratum] for stratum in strata[rows].unique().tolist()])
    return found


def _filled(dealt: Sequence[Tensor], weights: Sequence[Tensor], size: int) -> ClassBatch:
    batch = torch.zeros(len(dealt), min(size, max(map(len, dealt))), dtype=torch.int64)
    counted = torch.zeros(batch.shape)
    for place, rows in enumerate(dealt):
        batch[place] = rows[torch.arange(batch.shape[1]) % len(rows)]
        counted[place, : len(rows)] = weights[place]
    return ClassBatch(batch, counted)
