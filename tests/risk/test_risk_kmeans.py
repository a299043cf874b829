"""K-means against scikit-learn, and what must hold of any grouping."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from sklearn.cluster import KMeans as Oracle
from sklearn.datasets import make_blobs

from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.risk.kmeans import kmeans


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(count: int = 600, centres: int = 6, features: int = 5, spread: float = 1.0) -> torch.Tensor:
    points, _ = make_blobs(count, features, centers=centres, cluster_std=spread, random_state=3)
    return torch.from_numpy(points).float()


@pytest.mark.parametrize(("groups", "spread"), [(6, 1.0), (4, 4.0), (15, 8.0)])
def test_as_good_as_scikit_learn(groups: int, spread: float) -> None:
    points = blobs(spread=spread)
    oracle = Oracle(groups, n_init=10, random_state=0).fit(points.numpy())
    assert kmeans(points, groups, seeded(), restarts=5).inertia <= 1.01 * oracle.inertia_


def test_separate_blobs_are_found() -> None:
    points, truth = make_blobs(300, 4, centers=5, cluster_std=0.1, random_state=1)
    found = kmeans(torch.from_numpy(points).float(), 5, seeded()).assignments
    pairs = {(int(a), int(b)) for a, b in zip(found, truth, strict=True)}
    assert len(pairs) == 5


def test_parts_fit_together() -> None:
    points = blobs(spread=5.0)
    found = kmeans(points, 7, seeded())
    own = found.centroids[found.assignments]
    assert found.assignments.dtype == torch.int64
    assert found.centroids.shape == (7, 5)
    assert found.centroids.dtype == torch.float32
    assert math.isclose(found.inertia, float((points - own).double().square().sum()), rel_tol=1e-5)
    assert torch.equal(torch.cdist(points, found.centroids).argmin(1), found.assignments)
    assert 1 <= found.iterations <= 100


def test_inertia_never_rises_with_more_iterations() -> None:
    points = blobs(spread=6.0)
    course = [kmeans(points, 8, seeded(), restarts=1, iterations=i, tolerance=0.0).inertia for i in range(12)]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(course))
    assert course[-1] < course[0]


def test_same_seed_same_groups_and_the_generator_decides() -> None:
    points = blobs(spread=8.0)
    once, again = kmeans(points, 9, seeded(4)), kmeans(points, 9, seeded(4))
    assert torch.equal(once.assignments, again.assignments)
    assert torch.equal(once.centroids, again.centroids)
    other = kmeans(points, 9, seeded(5), restarts=1, iterations=1)
    assert not torch.equal(other.centroids, kmeans(points, 9, seeded(6), restarts=1, iterations=1).centroids)


def test_order_of_points_does_not_matter_where_groups_are_clear() -> None:
    points = blobs(spread=0.2)
    order = torch.randperm(len(points), generator=seeded(1))
    straight, shuffled = kmeans(points, 6, seeded()), kmeans(points[order], 6, seeded())
    assert math.isclose(straight.inertia, shuffled.inertia, rel_tol=1e-5)
    pairs = {(int(a), int(b)) for a, b in zip(straight.assignments[order], shuffled.assignments, strict=True)}
    assert len(pairs) == 6


def test_common_offset_costs_no_precision() -> None:
    points = blobs(spread=0.5)
    shifted = kmeans(points + 10_000, 6, seeded())
    assert math.isclose(shifted.inertia, kmeans(points, 6, seeded()).inertia, rel_tol=0.01)


def test_fewer_different_points_than_groups() -> None:
    three = torch.tensor([[0.1, 0.7], [5.3, 5.1], [9.9, 0.3]]).repeat(20, 1)
    found = kmeans(three, 8, seeded())
    assert len(found.centroids) == 3
    assert torch.bincount(found.assignments).tolist() == [20, 20, 20]
    assert found.inertia < 1e-9


def test_identical_points_are_one_group() -> None:
    found = kmeans(torch.full((50, 4), 0.123), 5, seeded())
    assert len(found.centroids) == 1
    assert torch.allclose(found.centroids, torch.full((1, 4), 0.123))


def test_near_duplicates_are_told_apart() -> None:
    pairs = torch.tensor([[100.0, 0.0], [100.001, 0.0], [-100.0, 0.0], [-100.001, 0.0]]).repeat(5, 1)
    assert kmeans(pairs, 4, seeded()).inertia < 1e-6


def test_a_group_for_every_point() -> None:
    points = blobs(count=30)
    found = kmeans(points, 30, seeded())
    assert sorted(found.assignments.tolist()) == list(range(30))
    assert found.inertia < 1e-6


def test_an_empty_group_restarts_at_the_farthest_point(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = torch.rand(20, 2, generator=seeded(2))
    points = torch.cat([blob, blob + 50, blob + 100])
    twice = (blob[:1] - points.mean(0)).repeat(3, 1)  # three equal seeds: two of them get no point
    monkeypatch.setattr("dgdd_cli.risk.kmeans._seeds", lambda *_: twice)
    found = kmeans(points, 3, seeded(), restarts=1)
    assert torch.bincount(found.assignments).tolist() == [20, 20, 20]


def test_one_group_is_the_mean() -> None:
    points = blobs()
    found = kmeans(points, 1, seeded())
    assert torch.allclose(found.centroids[0], points.mean(0), atol=1e-5)


@pytest.mark.parametrize("groups", [0, -1, 11])
def test_impossible_numbers_are_refused(groups: int) -> None:
    with pytest.raises(UsageError, match=str(groups)):
        kmeans(torch.rand(10, 2), groups, seeded())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    points = torch.rand(10, 2)
    points[3, 1] = value
    with pytest.raises(DataError, match="finite"):
        kmeans(points, 2, seeded())


def test_input_stays_as_it_was() -> None:
    points = blobs()
    before = points.clone()
    kmeans(points, 5, seeded())
    assert torch.equal(points, before)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    points = blobs(spread=0.3)
    whole = kmeans(points, 6, seeded())
    monkeypatch.setattr("dgdd_cli.risk.kmeans._CHUNK_ROWS", 37)
    blocks = kmeans(points, 6, seeded())
    assert math.isclose(whole.inertia, blocks.inertia, rel_tol=1e-5)
    assert torch.equal(whole.assignments, blocks.assignments)
