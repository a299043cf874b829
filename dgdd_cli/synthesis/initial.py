"""Which real images the synthetic set starts from: IPC rows of each class, each with the domain it came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dgdd_cli.data.images import Images
from dgdd_cli.errors import UsageError
from dgdd_cli.risk.kmeans import kmeans

PERMUTED = 4096  # rows that are permuted to draw a few of them


def check_budget(source: Images, ipc: int, *, repeats: bool = False) -> None:
    """Raise UsageError when a class has fewer images than `ipc`, or none where images may repeat; the smallest class is
    named."""
    ipc = min(ipc, 1) if repeats else ipc
    counts = source.counts().sum(1)
    smallest = int(counts.argmin())
    if ipc > int(counts[smallest]):
        raise UsageError(
            f"--ipc {ipc} is above the number of images of class {source.class_names[smallest]!r} "
            f"({int(counts[smallest])} in the sources)",
            hint=f"--ipc {int(counts[smallest])} or less",
        )


def random_rows(source: Images, ipc: int, generator: torch.Generator, *, repeats: bool = False) -> Tensor:
    """IPC random rows of each class, all domains together: int64 (C·IPC), class by class.

    With `repeats` a class that has fewer images gives all of them, in a new order, as often as it takes.
    """
    check_budget(source, ipc, repeats=repeats)
    picks = []
    for label in range(len(source.class_names)):
        rows = (source.labels == label).nonzero().squeeze(1)
        orders = [torch.randperm(len(rows), generator=generator) for _ in range(math.ceil(ipc / len(rows)))]
        picks.append(rows[torch.cat(orders)[:ipc]])
    return torch.cat(picks)


def balanced_rows(source: Images, ipc: int, generator: torch.Generator, *, repeats: bool = False) -> Tensor:
    """IPC random rows of each class, dealt to its source domains in turn: int64 (C·IPC), class by class.

    The domain that is dealt first rotates with the class, so that remainders spread evenly; a domain that has run
    out of images is passed over. With `repeats` a class that has fewer images is dealt as often as it takes.
    """
    check_budget(source, ipc, repeats=repeats)
    domains = len(source.domain_names)
    picks = []
    for label in range(len(source.class_names)):
        cells = [((source.labels == label) & (source.domains == d)).nonzero().squeeze(1) for d in range(domains)]
        dealt = deal(cells, ipc, label, generator)
        while len(dealt) < ipc:
            dealt += deal(cells, ipc - len(dealt), label + len(dealt), generator)
        picks.append(torch.tensor(sorted(dealt, key=lambda row: (int(source.domains[row]), row))))
    return torch.cat(picks)


def even_rows(source: Images, generator: torch.Generator) -> Tensor:
    """Every image, int64, those of each cell as often as it takes to reach the size of the largest, in new orders."""
    cells = source.labels * len(source.domain_names) + source.domains
    largest = int(torch.bincount(cells).max())
    found = []
    for cell in cells.unique().tolist():
        rows = (cells == cell).nonzero().squeeze(1)
        orders = [torch.randperm(len(rows), generator=generator) for _ in range(math.ceil(largest / len(rows)))]
        found.append(rows[torch.cat(orders)[:largest]])
    return torch.cat(found)


def deal(subsets: Sequence[Tensor], count: int, first: int, generator: torch.Generator) -> list[int]:
    """`count` random rows, one of each subset in turn from subset `first` on; a subset that has run out is passed
    over, and the rows are fewer where all have."""
    shares = shares_of([len(rows) for rows in subsets], count, first)
    decks = [draw_rows(rows, share, generator) for rows, share in zip(subsets, shares, strict=True)]
    dealt: list[int] = []
    turn = first
    while any(decks):
        deck = decks[turn % len(decks)]
        if deck:
            dealt.append(deck.pop())
        turn += 1
    return dealt


def shares_of(lengths: Sequence[int], count: int, first: int = 0) -> list[int]:
    """How many of `count` each subset gives when they are dealt in turn and none gives more than it has."""
    shares, left = [0] * len(lengths), min(count, sum(lengths))
    turn = first
    while left:
        subset = turn % len(lengths)
        if shares[subset] < lengths[subset]:
            shares[subset] += 1
            left -= 1
        turn += 1
    return shares


def draw_rows(rows: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """`count` different random rows of (n,) in random order; of many rows only as many numbers are drawn."""
    if len(rows) <= PERMUTED or 2 * count > len(rows):
        return rows[torch.randperm(len(rows), generator=generator)[len(rows) - count :]].tolist()
    found: dict[int, None] = {}  # ordered; what comes again counts once
    while len(found) < count:
        found.update(dict.fromkeys(torch.randint(len(rows), (count,), generator=generator).tolist()))
    return rows[torch.tensor(list(found)[:count], dtype=torch.int64)].tolist()


def kmeans_rows(
    source: Images,
    ipc: int,
    generator: torch.Generator,
    features: Callable[[Tensor], Tensor],
    *,
    repeats: bool = False,
) -> Tensor:
    """Of each class the rows nearest to the IPC centroids of its features (N_c, F): int64 (C·IPC), class by class.

    `features` maps rows int64 (n,) to (n, F) on the CPU.
    Each centroid takes its nearest image that no centroid before it took; where duplicate images leave fewer
    centroids than IPC, the centroids take another turn. With `repeats` a class that has fewer images gives all of them
    as often as it takes.
    """
    check_budget(source, ipc, repeats=repeats)
    picks = []
    for label in range(len(source.class_names)):
        rows = (source.labels == label).nonzero().squeeze(1)
        points = features(rows)  # (N_c, F)
        count = min(ipc, len(rows))
        chosen = rows[representatives(points, kmeans(points, count, generator).centroids, count)]
        picks.append(chosen[torch.arange(ipc) % count])
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
