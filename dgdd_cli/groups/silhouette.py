"""How clearly groups are separated: the mean silhouette (Rousseeuw 1987)."""

from __future__ import annotations

import torch
from torch import Tensor


def silhouette(
    features: Tensor, assignments: Tensor, generator: torch.Generator, *, sample: int = 2000
) -> float | None:
    """Mean silhouette of float features (N, F) in groups int64 (N,), in [−1, 1]; None with fewer than two groups.

    Above `sample` points, the silhouette of a random subset of that size, drawn from the (CPU) generator.
    """
    rows = sample_rows(len(features), generator, sample)
    return silhouette_within(distances(features[rows]), assignments[rows])


def sample_rows(count: int, generator: torch.Generator, sample: int = 2000) -> Tensor:
    """All rows, or `sample` of them at random, int64."""
    return torch.randperm(count, generator=generator)[:sample] if count > sample else torch.arange(count)


def distances(features: Tensor) -> Tensor:
    """Euclidean distances between all points, float64 (N, N)."""
    points = features.double() - features.mean(0, dtype=torch.float64)
    return torch.cdist(points, points)


def silhouette_within(distances: Tensor, assignments: Tensor) -> float | None:
    """Mean of (b − a) / max(a, b) over the points of a distance matrix (N, N); None with fewer than two groups.

    a = mean distance to the other points of the own group, b = the least mean distance to another group's points; a
    point alone in its group counts 0.
    """
    used, own = assignments.unique(return_inverse=True)
    if len(used) < 2:
        return None
    member = torch.nn.functional.one_hot(own).to(distances.dtype)  # (N, K)
    sizes = member.sum(0)
    totals = distances @ member  # (N, K): summed distance to each group
    rest = sizes[own] - 1
    a = totals.gather(1, own[:, None]).squeeze(1) / rest.clamp(min=1)
    b = (totals / sizes).masked_fill(member.bool(), torch.inf).amin(1)
    scores = torch.where(rest > 0, (b - a) / torch.maximum(a, b).clamp(min=torch.finfo(a.dtype).tiny), 0.0)
    return float(scores.mean())
