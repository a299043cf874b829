"""Batches of real images: how many of each subset, which cluster a representative speaks for, and its weight."""

from __future__ import annotations

import pytest
import torch

from dgdd_cli.methods.real_batch import cluster_subsets, draw_batch, draw_representatives, subsets_of

LABELS = torch.tensor([0] * 40 + [1] * 40 + [2] * 3)
STRATA = torch.tensor([0] * 30 + [1] * 10 + [0] * 38 + [1] * 2 + [0] * 3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spread(rows: torch.Tensor) -> torch.Tensor:
    return torch.stack([rows % 10, rows // 10], 1).float()


def by_clusters(subsets, size, draw):
    return draw_representatives(cluster_subsets(subsets, size, generator(1), spread), draw)


@pytest.mark.parametrize("draw", [draw_batch, by_clusters])
def test_strata_give_alike_as_long_as_they_last_and_a_small_class_gives_all(draw):
    drawn = draw(subsets_of(LABELS, STRATA, 3), 8, generator())
    for c, of_stratum in enumerate([[4, 4], [6, 2], [3, 0]]):
        rows, weights = drawn[c].rows, drawn[c].weights
        assert (LABELS[rows] == c).all()
        assert len(rows.unique()) == len(rows) == [8, 8, 3][c]
        total = torch.bincount(STRATA[rows], weights=weights, minlength=2)
        torch.testing.assert_close(total, torch.tensor(of_stratum, dtype=total.dtype))
    assert drawn[2].weights.tolist() == [1, 1, 1]


def test_an_outlier_stands_for_itself_alone():
    """Nineteen images in a heap and one far away: the mean is kept, not the spread."""
    clusters = cluster_subsets(
        [[torch.arange(20)]], 2, generator(), lambda rows: torch.where(rows == 7, 100.0, rows * 1e-3)[:, None]
    )
    assert sorted((len(own.rows), own.weight) for own in clusters[0]) == [(1, 0.1), (19, 1.9)]
    drawn = [draw_representatives(clusters, generator(seed))[0] for seed in range(200)]
    for batch in drawn:
        assert batch.weights[batch.rows == 7].tolist() == pytest.approx([0.1])
    assert torch.cat([batch.rows for batch in drawn]).unique().tolist() == list(range(20))  # others at other steps


def test_a_batch_of_representatives_has_the_mean_of_the_subsets():
    """On average over draws; and it varies less than a batch of random images."""
    values = torch.arange(100.0).square()
    subsets = [[torch.arange(90), torch.arange(90, 100)]]
    expected = (values[:90].mean() + values[90:].mean()) / 2
    clusters = cluster_subsets(subsets, 10, generator(), lambda rows: values[rows][:, None])

    def means(draw):
        batches = [draw(generator(seed))[0] for seed in range(400)]
        return torch.stack([(values[b.rows] * b.weights).sum() / b.weights.sum() for b in batches])

    ours, random = means(lambda g: draw_representatives(clusters, g)), means(lambda g: draw_batch(subsets, 10, g))
    assert abs(float(ours.mean() - expected)) < 4 * float(ours.std()) / 20
    assert float(ours.std()) < 0.6 * float(random.std())


def test_images_that_are_all_alike_are_one_cluster():
    clusters = cluster_subsets([[torch.arange(20)]], 10, generator(), lambda rows: torch.ones(len(rows), 3))
    (batch,) = draw_representatives(clusters, generator())
    assert batch.rows.shape == (1,)
    assert batch.weights.tolist() == [10]
