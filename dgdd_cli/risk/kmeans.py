"""K-means groups (Lloyd 1982) from greedy k-means++ seeds (Arthur & Vassilvitskii 2007, section 3)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.text import plural

_CHUNK_ROWS = 8192  # sums run in float32 within a block and in float64 across blocks
_CHUNK_BYTES = 32 * 2**20  # working memory for one block of distances or differences
_CANCELLED = 1e-5  # of ‖x‖² + ‖c‖²: below this, ‖x‖² − 2xc + ‖c‖² in float32 has few digits left
_SAME_POINT = 1e-12  # of the largest squared norm: below this, two float32 points differ by rounding only


@dataclass(frozen=True, slots=True)
class KMeans:
    """Groups of points: assignments int64 (N,), centroids float32 (K, F), inertia = Σ ‖x − centroid(x)‖², iterations.

    K is the number asked for, or the number of distinct points where that is smaller; no group is empty.
    """

    assignments: Tensor
    centroids: Tensor
    inertia: float
    iterations: int


def kmeans(
    features: Tensor,
    groups: int,
    generator: torch.Generator,
    *,
    restarts: int = 3,
    iterations: int = 100,
    tolerance: float = 1e-4,
) -> KMeans:
    """The best of `restarts` runs of Lloyd's iteration on float features (N, F).

    A run ends when no point changes its group, when the centroids move by less than `tolerance` (squared shift in
    units of the mean variance of a feature) or after `iterations`. A group that runs empty restarts at the point
    farthest from its centroid. The generator lives on the CPU; the same state gives the same groups. Working memory
    is one centred copy of the features plus 32 MiB. Raises UsageError when `groups` is below 1 or above N, DataError
    when a feature is not finite.
    """
    if not 1 <= groups <= len(features):
        raise UsageError(
            f"{plural(groups, 'group')} of {plural(len(features), 'point')} cannot be made",
            hint=f"--groups 1 to {len(features)}",
        )
    blocks = [features[rows].sum(0, dtype=torch.float64) for rows in _blocks(features, features.shape[1])]
    mean = (torch.stack(blocks).sum(0) / len(features)).float()
    points = features.float() - mean  # centred, so that ‖x‖² − 2xc + ‖c‖² loses no digits to a common offset
    if not bool(torch.isfinite(points.sum())):
        raise DataError("the features hold values that are not finite")
    runs = [_run(points, groups, generator, iterations, tolerance) for _ in range(restarts)]
    best = min(runs, key=lambda run: run.inertia)
    return KMeans(best.assignments, best.centroids + mean, best.inertia, best.iterations)


def _run(points: Tensor, groups: int, generator: torch.Generator, iterations: int, tolerance: float) -> KMeans:
    lengths = torch.cat([points[rows].square().sum(1) for rows in _blocks(points, points.shape[1])])  # (N,)
    same = _SAME_POINT * float(lengths.max())
    centroids = _seeds(points, lengths, groups, generator, same)
    enough = tolerance * float(lengths.mean(dtype=torch.float64)) / points.shape[1]
    assignments, done, settled = _nearest(points, centroids), 0, False
    while done < iterations and not settled:
        moved = _means(points, assignments, centroids, same)
        shift = float((moved - centroids).square().sum())
        before, centroids = assignments, moved
        assignments = _nearest(points, centroids)
        settled = shift <= enough or torch.equal(before, assignments)
        done += 1
    used, assignments = assignments.unique(return_inverse=True)
    inertia = float(_own_distances(points, centroids[used], assignments).sum(dtype=torch.float64))
    return KMeans(assignments, centroids[used], inertia, done)


def _seeds(points: Tensor, lengths: Tensor, groups: int, generator: torch.Generator, same: float) -> Tensor:
    """Greedy k-means++: each new seed is the best of 2 + ln K candidates drawn in proportion to squared distance."""
    first = int(torch.randint(len(points), (1,), generator=generator))
    chosen = [first]
    nearest = _distances(points, lengths, points[[first]], same).squeeze(1)  # (N,)
    candidates = 2 + int(math.log(groups))
    while len(chosen) < groups:
        cumulative = nearest.cumsum(0, dtype=torch.float64)
        if float(cumulative[-1]) == 0.0:
            break  # every point coincides with a seed
        draws = torch.rand(candidates, generator=generator, dtype=torch.float64).to(points.device) * cumulative[-1]
        rows = torch.searchsorted(cumulative, draws, right=True).clamp(max=len(points) - 1)
        rows = rows[nearest[rows] > 0]  # rounding can hit the end of the range, where a seed may sit
        if len(rows) == 0:
            rows = nearest.argmax().unsqueeze(0)
        closer = torch.minimum(_distances(points, lengths, points[rows], same), nearest[:, None])  # (N, L)
        best = int(closer.sum(0, dtype=torch.float64).argmin())
        chosen.append(int(rows[best]))
        nearest = closer[:, best]
    return points[chosen].clone()


def _distances(points: Tensor, lengths: Tensor, others: Tensor, same: float) -> Tensor:
    """‖x − other‖², (N, L); 0 where the two are the same point up to rounding."""
    squares = others.square().sum(1)
    parts = []
    for rows in _blocks(points, len(others), most=len(points)):
        part = torch.addmm(squares, points[rows], others.T, alpha=-2) + lengths[rows, None]
        # Where the product form cancels, only the difference itself tells a neighbour from a duplicate.
        row, other = (part < _CANCELLED * (lengths[rows, None] + squares)).nonzero(as_tuple=True)
        for pairs in torch.arange(len(row), device=points.device).split(_CHUNK_ROWS // 8):
            part[row[pairs], other[pairs]] = (points[rows][row[pairs]] - others[other[pairs]]).square().sum(1)
        parts.append(part)
    distances = torch.cat(parts)
    return distances.masked_fill_(distances <= same, 0.0)


def _nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """The nearest centroid of each point, int64 (N,)."""
    lengths = centroids.square().sum(1)
    blocks = _blocks(points, len(centroids), most=len(points))
    return torch.cat([torch.addmm(lengths, points[rows], centroids.T, alpha=-2).argmin(1) for rows in blocks])


def _means(points: Tensor, assignments: Tensor, centroids: Tensor, same: float) -> Tensor:
    """The mean of each group, (K, F); an empty group gets the point that lies farthest from its own centroid."""
    groups = len(centroids)
    sums = torch.zeros(centroids.shape, dtype=torch.float64, device=points.device)
    for rows in _blocks(points, groups):
        sums += torch.zeros_like(centroids).index_add_(0, assignments[rows], points[rows])
    counts = torch.bincount(assignments, minlength=groups)
    means = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), centroids).to(points.dtype)
    empty = (counts == 0).nonzero().squeeze(1)
    if len(empty):
        far, order = _own_distances(points, means, assignments).sort(descending=True, stable=True)
        outliers = order[: len(empty)][far[: len(empty)] > same]
        means[empty[: len(outliers)]] = points[outliers]
    return means


def _own_distances(points: Tensor, centroids: Tensor, assignments: Tensor) -> Tensor:
    """‖x − centroid(x)‖², (N,), from the differences themselves: exact where a point lies on its centroid."""
    parts = [(points[rows] - centroids[assignments[rows]]).square().sum(1) for rows in _blocks(points, points.shape[1])]
    return torch.cat(parts)


def _blocks(points: Tensor, columns: int, most: int | None = None) -> Iterator[slice]:
    """Rows in blocks of the working memory; of `most` rows, by default as many as float32 sums may run over."""
    size = min(most or _CHUNK_ROWS, max(1, _CHUNK_BYTES // (4 * max(1, columns))))
    return (slice(start, start + size) for start in range(0, len(points), size))
