"""How clearly groups are separated: the mean silhouette (Rousseeuw 1987), scikit-learn's."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_rows(count: int, generator: torch.Generator, sample: int = 2000) -> Tensor:
    """All rows, or `sample` of them at random, int64."""
    return torch.randperm(count, generator=generator)[:sample] if count > sample else torch.arange(count)


def distances(features: Tensor) -> Tensor:
    """Euclidean distances between all points, float64 (N, N)."""
    points = features.double() - features.mean(0, dtype=torch.float64)
    return torch.cdist(points, points).fill_diagonal_(0)


def silhouette_within(distances: Tensor, assignments: Tensor) -> float | None:
    """Mean of (b − a) / max(a, b) over the points of a distance matrix (N, N), in [−1, 1].

    None with fewer than two groups; a point alone in its group counts 0.
    """
    from sklearn.metrics import silhouette_score  # takes a second to import

    if (groups := len(assignments.unique())) < 2:
        return None
    if groups == len(assignments):
        return 0.0
    return float(silhouette_score(distances.numpy(), assignments.numpy(), metric="precomputed"))
