"""K-means groups: scikit-learn's, on one thread, seeded from a named stream."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.errors import DataError, UsageError


@dataclass(frozen=True, slots=True)
class KMeans:
    """Groups of points: assignments int64 (N,), centroids float32 (K, F), inertia = Σ ‖x − centroid(x)‖².

    K is the number asked for, or the number of distinct points where that is smaller; no group is empty.
    """

    assignments: Tensor
    centroids: Tensor
    inertia: float


def kmeans(features: Tensor, groups: int, generator: torch.Generator, *, restarts: int = 3) -> KMeans:
    """The best of `restarts` runs of Lloyd's iteration from k-means++ seeds on float features (N, F).

    The state of the (CPU) generator decides the groups: on one thread, because the sums of several threads are added in
    the order in which they finish. Raises UsageError when `groups` is below 1 or above N, DataError when a feature is
    not finite.
    """
    from sklearn.cluster import KMeans as Lloyd  # takes a second to import
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if not 1 <= groups <= len(features):
        raise UsageError(
            f"{groups} groups of {len(features)} points are not possible", hint=f"--groups 1 to {len(features)}"
        )
    points = features.float().cpu().numpy()
    if not bool(torch.isfinite(features.sum())):
        raise DataError("the features hold values that are not finite")
    seed = int(torch.randint(2**31, (), generator=generator))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than groups: told by K
        found = Lloyd(groups, n_init=restarts, random_state=seed).fit(points)
    used, assignments = torch.from_numpy(found.labels_).long().unique(return_inverse=True)
    return KMeans(assignments, torch.from_numpy(found.cluster_centers_).float()[used], float(found.inertia_))
