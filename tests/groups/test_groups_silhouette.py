"""The silhouette: what scikit-learn leaves undefined, and samples of many points."""

from __future__ import annotations

import torch

from dgdd_cli.groups.silhouette import distances, sample_rows, silhouette_within


def case(count: int, groups: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    assignments = torch.randint(groups, (count,), generator=draw)
    centres = 3 * torch.randn(groups, 6, generator=draw)
    return centres[assignments] + torch.randn(count, 6, generator=draw), assignments


def test_by_hand() -> None:
    points = torch.tensor([[0.0], [1.0], [10.0]])
    # the first: a = 1, b = 10; the second: a = 1, b = 9; the third is alone
    assert abs(silhouette_within(distances(points), torch.tensor([0, 0, 1])) - (9 / 10 + 8 / 9) / 3) < 1e-12


def test_one_group_has_none_and_groups_of_one_count_zero() -> None:
    points, _ = case(20, 3)
    assert silhouette_within(distances(points), torch.zeros(20, dtype=torch.int64)) is None
    assert silhouette_within(distances(points), torch.arange(20)) == 0


def test_group_numbers_may_have_gaps() -> None:
    points, assignments = case(100, 3)
    between = distances(points)
    assert silhouette_within(between, assignments * 10) == silhouette_within(between, assignments)


def test_identical_points_count_zero() -> None:
    assert silhouette_within(distances(torch.ones(10, 3)), torch.arange(10) % 2) == 0


def test_a_sample_comes_near_and_repeats() -> None:
    points, assignments = case(3000, 4)
    rows = sample_rows(3000, torch.Generator().manual_seed(1), 800)
    assert torch.equal(rows, sample_rows(3000, torch.Generator().manual_seed(1), 800))
    sampled = silhouette_within(distances(points[rows]), assignments[rows])
    exact = silhouette_within(distances(points), assignments)
    assert sampled is not None
    assert exact is not None
    assert sampled != exact
    assert abs(sampled - exact) < 0.03
