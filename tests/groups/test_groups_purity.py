"""Purity by hand and at its ends."""

from __future__ import annotations

import torch

from dgdd_cli.groups.purity import purity


def test_counts_by_hand() -> None:
    groups, labels = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([2, 2, 0, 1, 1])
    assert purity(groups, labels) == 4 / 5


def test_ends() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    assert purity(labels, labels) == 1
    assert purity(torch.arange(6), labels) == 1
    assert purity(torch.zeros(6, dtype=torch.int64), labels) == 1 / 2


def test_names_of_groups_do_not_matter() -> None:
    draw = torch.Generator().manual_seed(0)
    groups, labels = torch.randint(5, (200,), generator=draw), torch.randint(3, (200,), generator=draw)
    renamed = torch.randperm(5, generator=draw)[groups]
    assert purity(renamed, labels) == purity(groups, labels)
