"""Merging small groups: who goes where, and what remains."""

from __future__ import annotations

import pytest
import torch

from dgdd_cli.groups.merge import merge_small

CENTROIDS = torch.tensor([[0.0], [10.0], [12.0], [30.0]])
ASSIGNMENTS = torch.tensor([0] * 5 + [1] * 1 + [2] * 4 + [3] * 6)


def test_the_small_one_joins_the_nearest() -> None:
    merged = merge_small(ASSIGNMENTS, CENTROIDS, 3)
    assert merged.given_up == 1
    assert torch.bincount(merged.assignments).tolist() == [5, 5, 6]
    assert merged.assignments[5] == merged.assignments[6]
    assert merged.centroids.squeeze(1).tolist() == pytest.approx([0, (10 * 1 + 12 * 4) / 5, 30])


def test_nothing_to_merge_changes_nothing() -> None:
    merged = merge_small(ASSIGNMENTS, CENTROIDS, 1)
    assert merged.given_up == 0
    assert torch.equal(merged.assignments, ASSIGNMENTS)
    assert torch.equal(merged.centroids, CENTROIDS)


@pytest.mark.parametrize("minimum", range(2, 20))
def test_every_group_reaches_the_minimum_or_one_is_left(minimum: int) -> None:
    merged = merge_small(ASSIGNMENTS, CENTROIDS, minimum)
    sizes = torch.bincount(merged.assignments)
    assert len(sizes) == len(merged.centroids) == len(CENTROIDS) - merged.given_up
    assert int(sizes.sum()) == len(ASSIGNMENTS)
    assert len(sizes) == 1 or int(sizes.min()) >= minimum
    if len(sizes) == 1:
        whole = CENTROIDS[ASSIGNMENTS].mean(0)
        assert torch.allclose(merged.centroids[0], whole, atol=1e-4)


def test_chains_follow_to_the_end() -> None:
    # 1 goes into 2, which then is still too small and goes into 3.
    merged = merge_small(torch.tensor([0] * 9 + [1] + [2] * 2 + [3] * 9), CENTROIDS.clone(), 5)
    assert merged.given_up == 2
    assert torch.bincount(merged.assignments).tolist() in ([12, 9], [9, 12])


def test_input_stays_as_it_was() -> None:
    before = CENTROIDS.clone()
    merge_small(ASSIGNMENTS, CENTROIDS, 5)
    assert torch.equal(before, CENTROIDS)
