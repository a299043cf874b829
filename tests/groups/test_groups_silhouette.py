"""The silhouette against scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import silhouette_score

from dgdd_cli.groups.silhouette import silhouette


def case(count: int, groups: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    assignments = torch.randint(groups, (count,), generator=draw)
    centres = 3 * torch.randn(groups, 6, generator=draw)
    return centres[assignments] + torch.randn(count, 6, generator=draw), assignments


@pytest.mark.parametrize("groups", [2, 5, 9])
def test_equals_scikit_learn(groups: int) -> None:
    points, assignments = case(400, groups)
    ours = silhouette(points, assignments, torch.Generator())
    assert ours is not None
    assert math.isclose(ours, silhouette_score(points.numpy(), assignments.numpy()), abs_tol=1e-5)


def test_a_point_alone_counts_zero() -> None:
    points, assignments = case(60, 3)
    assignments[7] = 3
    ours = silhouette(points, assignments, torch.Generator())
    assert ours is not None
    assert math.isclose(ours, silhouette_score(points.numpy(), assignments.numpy()), abs_tol=1e-5)
    assert silhouette(points[:2], torch.tensor([0, 1]), torch.Generator()) == 0


def test_group_numbers_may_have_gaps() -> None:
    points, assignments = case(100, 3)
    assert silhouette(points, assignments * 10, torch.Generator()) == silhouette(points, assignments, torch.Generator())


def test_one_group_has_none() -> None:
    assert silhouette(torch.rand(20, 3), torch.zeros(20, dtype=torch.int64), torch.Generator()) is None


def test_identical_points_count_zero() -> None:
    assert silhouette(torch.ones(10, 3), torch.arange(10) % 2, torch.Generator()) == 0


def test_a_sample_comes_near_and_repeats() -> None:
    points, assignments = case(3000, 4)
    exact = silhouette(points, assignments, torch.Generator(), sample=3000)
    once = silhouette(points, assignments, torch.Generator().manual_seed(1), sample=800)
    again = silhouette(points, assignments, torch.Generator().manual_seed(1), sample=800)
    assert exact is not None
    assert once is not None
    assert once == again != exact
    assert abs(once - exact) < 0.03
