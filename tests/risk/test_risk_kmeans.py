"""K-means: what must hold of any grouping, whatever finds it."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import make_blobs

from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.risk.kmeans import kmeans


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(count: int = 600, centres: int = 6, features: int = 5, spread: float = 1.0) -> torch.Tensor:
    points, _ = make_blobs(count, features, centers=centres, cluster_std=spread, random_state=3)
    return torch.from_numpy(points).float()


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


def test_same_seed_same_groups_and_the_generator_decides() -> None:
    points = blobs(spread=8.0)
    once, again = kmeans(points, 9, seeded(4)), kmeans(points, 9, seeded(4))
    assert torch.equal(once.assignments, again.assignments)
    assert torch.equal(once.centroids, again.centroids)
    assert not torch.equal(once.centroids, kmeans(points, 9, seeded(5), restarts=1).centroids)


def test_threads_do_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.rand(3000, 40, generator=seeded(8))
    once = kmeans(points, 20, seeded(4))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = kmeans(points, 20, seeded(4))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(once.centroids, again.centroids)


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
