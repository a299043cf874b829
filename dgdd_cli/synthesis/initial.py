"""Which real images the synthetic set starts from: IPC rows of each class, each with the domain it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.errors import UsageError
from dgdd_cli.risk.kmeans import kmeans


def check_budget(source: DomainDataset, ipc: int) -> None:
    """Raise UsageError when a class has fewer images than `ipc`; the smallest class is named."""
    counts = source.counts().sum(1)
    smallest = int(counts.argmin())
    if ipc > int(counts[smallest]):
        raise UsageError(
            f"--ipc {ipc} is above the number of images of class {source.class_names[smallest]!r} "
            f"({int(counts[smallest])} in the sources)",
            hint=f"--ipc {int(counts[smallest])} or less",
        )


def random_rows(source: DomainDataset, ipc: int, generator: torch.Generator) -> Tensor:
    """IPC random rows of each class, all domains together: int64 (C·IPC), class by class."""
    check_budget(source, ipc)
    picks = []
    for label in range(len(source.class_names)):
        rows = (source.labels == label).nonzero().squeeze(1)
        picks.append(rows[torch.randperm(len(rows), generator=generator)[:ipc]])
    return torch.cat(picks)


def balanced_rows(source: DomainDataset, ipc: int, generator: torch.Generator) -> Tensor:
    """IPC random rows of each class, dealt to its source domains in turn: int64 (C·IPC), class by class.

    The domain that is dealt first rotates with the class, so that remainders spread evenly; a domain that has run
    out of images is passed over.
    """
    check_budget(source, ipc)
    domains = len(source.domain_names)
    picks = []
    for label in range(len(source.class_names)):
        cells = [((source.labels == label) & (source.domains == d)).nonzero().squeeze(1) for d in range(domains)]
        dealt = deal(cells, ipc, label, generator)
        picks.append(torch.tensor(sorted(dealt, key=lambda row: (int(source.domains[row]), row))))
    return torch.cat(picks)


def deal(strata: Sequence[Tensor], count: int, first: int, generator: torch.Generator) -> list[int]:
    """`count` random rows, one of each stratum in turn from stratum `first` on; a stratum that has run out is passed
    over, and the rows are fewer where all have."""
    decks = [rows[torch.randperm(len(rows), generator=generator)].tolist() for rows in strata]
    dealt: list[int] = []
    turn = first
    while len(dealt) < count and any(decks):
        deck = decks[turn % len(decks)]
        if deck:
            dealt.append(deck.pop())
        turn += 1
    return dealt


def kmeans_rows(
    source: DomainDataset, ipc: int, generator: torch.Generator, features: Callable[[Tensor], Tensor]
) -> Tensor:
    """Of each class the rows nearest to the IPC centroids of its features (N_c, F): int64 (C·IPC), class by class.

    Each centroid takes its nearest image that no centroid before it took; where duplicate images leave fewer
    centroids than IPC, the centroids take another turn.
    """
    check_budget(source, ipc)
    picks = []
    for label in range(len(source.class_names)):
        rows = (source.labels == label).nonzero().squeeze(1)
        points = features(source.images[rows])  # (N_c, F)
        picks.append(rows[representatives(points, kmeans(points, ipc, generator).centroids, ipc)])
    return torch.cat(picks)


def representatives(points: Tensor, centroids: Tensor, count: int) -> Tensor:
    """`count` different rows of points (n, F), each the nearest to one of the centroids (K, F) in turn: int64."""
    distances = torch.cdist(centroids, points)  # (K, n)
    taken: list[int] = []
    for turn in range(count):
        row = distances[turn % len(distances)]
        row[taken] = torch.inf
        taken.append(int(row.argmin()))
    return torch.tensor(taken)
