"""Rows of the subsets that real images are sorted into: all of them, or a random sample of each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dgdd_cli.probes.view import Partition


def rows_of_subsets(partition: Partition) -> tuple[Tensor, ...]:
    """The rows of every subset of a partition, in order, int64 on the CPU: one sort, whatever their number."""
    ids = partition.ids.cpu()
    return ids.argsort(stable=True).split(torch.bincount(ids, minlength=partition.count).tolist())


def sample_subsets(subsets: Sequence[Tensor], batch: int, generator: torch.Generator, *, fill: bool = False) -> Tensor:
    """At most `batch` random rows of every subset (n_m,), int64, subset by subset.

    With `fill` exactly `batch`: a smaller subset repeats its rows, and one without images gives row 0.
    """
    picks = []
    for rows in subsets:
        drawn = rows[torch.randperm(len(rows), generator=generator)[:batch]]
        if fill and len(drawn) < batch:
            drawn = drawn if len(drawn) else drawn.new_zeros(1)
            drawn = drawn[torch.arange(batch) % len(drawn)]
        picks.append(drawn)
    return torch.cat(picks)


def cells_of_group_cells(cells: Partition, group_cells: Partition) -> Tensor | None:
    """The cell that each group cell is, int64 (P,) on the CPU; None unless each is all images of one cell."""
    pairs = torch.unique(group_cells.ids.cpu() * cells.count + cells.ids.cpu())
    if not len(pairs) == group_cells.count == len(torch.unique(cells.ids)):
        return None
    return pairs % cells.count
