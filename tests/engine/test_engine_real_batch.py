"""Batches of real images: how many of each stratum, which of them K-means keeps, and what each stands for."""

from __future__ import annotations

import pytest
import torch

from dgdd_cli.engine.real_batch import draw_batch, draw_representatives, strata_of

LABELS = torch.tensor([0] * 40 + [1] * 40 + [2] * 3)
STRATA = torch.tensor([0] * 30 + [1] * 10 + [0] * 38 + [1] * 2 + [0] * 3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(rows: torch.Tensor) -> torch.Tensor:
    """Two tight heaps in every stratum, of the rows below and above the first four of each ten."""
    return torch.stack([(rows % 10 < 4) * 10.0, rows * 1e-3], 1)


@pytest.mark.parametrize("draw", [draw_batch, lambda *given: draw_representatives(*given, points)])
def test_strata_give_alike_as_long_as_they_last_and_a_small_class_gives_all(draw):
    batch = draw(strata_of(LABELS, STRATA, 3), 8, generator())
    assert batch.rows.shape == batch.weights.shape == (3, 8)
    for c, of_stratum in enumerate([[4, 4], [6, 2], [3, 0]]):
        held = batch.rows[c][batch.weights[c] > 0]
        assert (LABELS[held] == c).all()
        assert len(held.unique()) == len(held)
        assert torch.bincount(STRATA[batch.rows[c]], weights=batch.weights[c], minlength=2).tolist() == of_stratum
    assert batch.weights[2].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_random_images_count_once_and_representatives_for_their_neighbours():
    strata = [[torch.tensor([0, 1, 2, 5])]]  # three in one heap, one in the other
    assert draw_batch(strata, 2, generator()).weights.tolist() == [[1, 1]]
    batch = draw_representatives(strata, 2, generator(), points)
    weights = dict(zip((batch.rows[0] == 5).tolist(), batch.weights[0].tolist(), strict=True))
    assert weights == {False: 1.5, True: 0.5}


def test_an_outlier_stands_for_itself_alone():
    """Nineteen images in a heap and one far away, all of them candidates: the mean is kept, not the spread."""
    strata = [[torch.arange(20)]]

    def features(rows):
        return torch.where(rows == 7, 100.0, rows * 1e-3)[:, None]

    batch = draw_representatives(strata, 10, generator(), features)
    weights = dict(zip(batch.rows[0].tolist(), batch.weights[0].tolist(), strict=True))
    assert weights[7] == 0.5  # one of twenty, in a batch of ten
    assert sum(weights.values()) == 10


def test_images_that_are_all_alike_are_enough():
    batch = draw_representatives([[torch.arange(20)]], 10, generator(), lambda rows: torch.ones(len(rows), 3))
    assert len(batch.rows[0].unique()) == 10
    assert float(batch.weights.sum()) == 10
