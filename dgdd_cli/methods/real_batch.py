"""Batches of real images for gradient matching: of every class equally many, dealt evenly from its subsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.progress import Progress, silent
from dgdd_cli.risk.kmeans import kmeans
from dgdd_cli.synthesis.initial import deal, shares_of


@dataclass(frozen=True, slots=True, eq=False)
class ClassBatch:
    """Images of one class: rows of the source set int64 (B,), and how many images each stands for, float32 (B,)."""

    rows: Tensor
    weights: Tensor


Subsets = Sequence[Sequence[Tensor]]  # for each class, the rows of each subset


def draw_batch(subsets: Subsets, size: int, generator: torch.Generator) -> list[ClassBatch]:
    """`size` random images of each class, all of them where it has fewer, dealt from its subsets in turn."""
    dealt = [torch.tensor(deal(own, size, 0, generator), dtype=torch.int64) for own in subsets]
    return [ClassBatch(rows, torch.ones(len(rows))) for rows in dealt]


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """Rows of the source set that one of them speaks for, and how many images of a batch they make up."""

    rows: Tensor
    weight: float


Clusters = Sequence[Sequence[Cluster]]  # for each class


def cluster_subsets(
    subsets: Subsets,
    size: int,
    generator: torch.Generator,
    features: Callable[[Tensor], Tensor],
    progress: Progress = silent,
) -> Clusters:
    """`size` K-means clusters of each class, dealt evenly to its subsets and found within each.

    `features` maps rows (n,) to (n, F) on the CPU. A subset with no more images than clusters makes each its own, so
    a class with at most `size` images gives all of them.
    """
    found: list[list[Cluster]] = []
    for done, own in enumerate(subsets):
        progress("representatives", done, len(subsets))
        found.append([])
        for rows, count in zip(own, shares_of([len(rows) for rows in own], size), strict=True):
            if count == len(rows):
                found[-1] += [Cluster(row, 1.0) for row in rows.split(1)]
            elif count:
                of_row = kmeans(features(rows), count, generator, restarts=1).assignments
                members = [rows[of_row == cluster] for cluster in range(int(of_row.max()) + 1)]
                found[-1] += [Cluster(held, count * len(held) / len(rows)) for held in members]
    progress("representatives", len(subsets), len(subsets))
    return found


def draw_representatives(clusters: Clusters, generator: torch.Generator) -> list[ClassBatch]:
    """A random image of every cluster, which stands for all of it.

    The weighted mean of a batch is on average that of images dealt evenly from the subsets, and varies less. The images
    nearest to the centroids, unweighted, would be outliers above all, and the same at every step.
    """

    def of_class(own: Sequence[Cluster]) -> ClassBatch:
        drawn = [one.rows[torch.randint(len(one.rows), (), generator=generator)] for one in own]
        return ClassBatch(torch.stack(drawn), torch.tensor([one.weight for one in own]))

    return [of_class(own) for own in clusters]


def subsets_of(labels: Tensor, subsets: Tensor, num_classes: int) -> list[list[Tensor]]:
    """For each class, the rows of each of its subsets that has any: labels and subsets int64 (N,)."""
    found = []
    for label in range(num_classes):
        rows = (labels == label).nonzero().squeeze(1)
        found.append([rows[subsets[rows] == subset] for subset in subsets[rows].unique().tolist()])
    return found
