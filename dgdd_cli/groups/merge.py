"""Groups too small to count on, merged into their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Merged:
    """Groups after merging: assignments int64 (N,), centroids (K', F), and how many groups were given up."""

    assignments: Tensor
    centroids: Tensor
    given_up: int


def merge_small(assignments: Tensor, centroids: Tensor, minimum: int) -> Merged:
    """Merge the smallest group into the one with the nearest centroid until each has `minimum` members or one is left.

    The merged centroid is the mean weighted by size; the groups that remain keep their order.
    """
    centroids = centroids.clone()
    sizes = torch.bincount(assignments, minlength=len(centroids))
    target = torch.arange(len(centroids), device=assignments.device)  # where each old group went
    alive = torch.ones(len(centroids), dtype=torch.bool, device=assignments.device)
    while int(alive.sum()) > 1:
        small = int(torch.where(alive, sizes, sizes.max() + 1).argmin())
        if int(sizes[small]) >= minimum:
            break
        alive[small] = False
        distances = (centroids - centroids[small]).square().sum(1)
        into = int(torch.where(alive, distances, torch.inf).argmin())
        total = int(sizes[into] + sizes[small])
        if total:
            centroids[into] = (centroids[into] * sizes[into] + centroids[small] * sizes[small]) / total
        sizes[into] = total
        target[target == small] = into
    kept = alive.nonzero().squeeze(1)
    return Merged(torch.searchsorted(kept, target[assignments]), centroids[kept], len(alive) - len(kept))
