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
    """Rows of the source set, int64 (C, B), and which of them count, bool (C, B): the others fill up a small class."""

    rows: Tensor
    counts: Tensor


Strata = Sequence[Sequence[Tensor]]  # for each class, the rows of each stratum


def draw_batch(strata: Strata, size: int, generator: torch.Generator) -> ClassBatch:
    """`size` random images of each class, all of them where it has fewer, dealt from its strata in turn."""
    dealt = [torch.tensor(deal(own, size, 0, generator), dtype=torch.int64) for own in strata]
    return _filled(dealt, size)


def draw_representatives(
    strata: Strata, size: int, generator: torch.Generator, features: Callable[[Tensor], Tensor]
) -> ClassBatch:
    """The images nearest to `size` K-means centroids among twice as many dealt from the strata, for each class.

    `features` maps rows (n,) to (n, F); a class with at most `size` images gives all of them.
    """
    dealt = []
    for own in strata:
        rows = torch.tensor(deal(own, CANDIDATES * size, 0, generator), dtype=torch.int64)
        if len(rows) > size:
            points = features(rows)
            centroids = kmeans(points, size, generator, restarts=1, iterations=LLOYD).centroids
            rows = rows[representatives(points, centroids, size)]
        dealt.append(rows)
    return _filled(dealt, size)


def strata_of(labels: Tensor, strata: Tensor, num_classes: int) -> list[list[Tensor]]:
    """For each class, the rows of each of its strata that has any: labels and strata int64 (N,)."""
    found = []
    for label in range(num_classes):
        rows = (labels == label).nonzero().squeeze(1)
        found.append([rows[strata[rows] == stratum] for stratum in strata[rows].unique().tolist()])
    return found


def _filled(dealt: Sequence[Tensor], size: int) -> ClassBatch:
    rows = torch.zeros(len(dealt), min(size, max(map(len, dealt))), dtype=torch.int64)
    counts = torch.zeros(rows.shape, dtype=torch.bool)
    for place, own in enumerate(dealt):
        rows[place] = own[torch.arange(rows.shape[1]) % len(own)]
        counts[place, : len(own)] = True
    return ClassBatch(rows, counts)
