"""Leaving a share of every source cell out: which images, of which cells, and what does not change it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.validation import split_validation
from dgdd_cli.errors import UsageError


def sizes_of(images) -> list[int]:
    return images.counts().flatten().tolist()


@pytest.mark.parametrize(("share", "out"), [(0.2, 2), (0.5, 4), (0.01, 1), (0.99, 7)])
def test_every_cell_loses_its_share_and_none_is_emptied(shapes, share, out):
    dataset = shapes(per_cell=8)
    split = split_validation(dataset, share, 0)
    assert sizes_of(split.held) == [out] * 9
    assert sizes_of(split.kept) == [8 - out] * 9
    both = torch.cat([split.kept.rows, split.held.rows])
    assert both.sort().values.tolist() == list(range(len(dataset)))
    assert split.notes == ()


def test_a_seed_draws_the_same_images_and_another_one_others(shapes):
    dataset = shapes(per_cell=8)
    assert split_validation(dataset, 0.2, 1).digest() == split_validation(dataset, 0.2, 1).digest()
    assert split_validation(dataset, 0.2, 1).digest() != split_validation(dataset, 0.2, 2).digest()


def test_a_domain_is_split_alike_whichever_others_are_beside_it(shapes):
    dataset: DomainDataset = shapes(per_cell=8)
    alone = split_validation(dataset.only(["blue"]), 0.3, 5).held
    among = split_validation(dataset, 0.3, 5).held.only(["blue"])
    assert torch.equal(alone.at(torch.arange(len(alone))), among.at(torch.arange(len(among))))


def test_cells_of_one_image_are_left_whole_and_said(shapes):
    dataset = shapes(per_cell=4)
    cell = (dataset.labels == 0) & (dataset.domains == 1)
    keep = ~cell | (cell.cumsum(0) == 1)
    small = replace(dataset, images=dataset.images[keep], labels=dataset.labels[keep], domains=dataset.domains[keep])
    split = split_validation(small, 0.5, 0)
    assert split.notes == ("1 cell of a single image left whole: bar in blue",)
    assert split.kept.counts()[0, 1] == 1
    assert split.held.counts()[0, 1] == 0


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none(shapes, share):
    with pytest.raises(UsageError, match="above 0 and below 1") as caught:
        split_validation(shapes(), share, 0)
    assert caught.value.hint == "--validate 0.2"


def test_nothing_to_leave_out(shapes):
    with pytest.raises(UsageError, match="no cell has two images"):
        split_validation(shapes(per_cell=1), 0.5, 0)
