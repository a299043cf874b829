"""The risk over real images by weight: a weight of k counts as k images would, in value and in gradient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dgdd_cli.config import Risk
from dgdd_cli.groups.find import find_groups
from dgdd_cli.methods.group_cells import group_cells_of
from dgdd_cli.methods.sample_risk import sample_risks
from dgdd_cli.runtime.context import Context

RISKS = [
    Risk(name="mean"),
    Risk(name="cvar", tail=0.4),
    Risk(name="cvar-within", tail=0.4),
    Risk(name="mean-max", tail=0.4),
    Risk(name="group-dro", rate=1.0, adjustment=2.0),
]


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("risk", [None, *RISKS], ids=lambda risk: risk.name if risk else "none")
def test_a_weight_counts_as_so_many_images(shapes, risk, within):
    dataset = shapes(per_cell=4)
    group_cells = group_cells_of(dataset, find_groups(Context(), dataset, "domain"))
    weighed, repeated = (sample_risks(risk, group_cells, within_classes=within)() for _ in range(2))
    draw = torch.Generator().manual_seed(3)
    for _ in range(2):  # the standing of group-DRO accumulates
        rows = torch.randperm(len(dataset), generator=draw)[:20]
        weights = torch.randint(0, 4, (20,), generator=draw)
        losses = torch.rand(20, generator=draw).requires_grad_()
        many = torch.repeat_interleave(torch.arange(20), weights)
        found = weighed(losses, rows, weights.float())
        expected = repeated(losses[many], rows[many], torch.ones(len(many)))
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(*(torch.autograd.grad(value, losses)[0] for value in (found, expected)))


@pytest.mark.parametrize("risk", RISKS, ids=lambda risk: risk.name)
def test_no_risk_makes_longer_steps_than_the_mean(shapes, risk):
    """Over all groups the weights of the losses sum to 1, for every risk."""
    dataset = shapes(per_cell=4)
    group_cells = group_cells_of(dataset, find_groups(Context(), dataset, "domain"))
    losses = torch.rand(len(dataset), generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = sample_risks(risk, group_cells, within_classes=False)()(
        losses, torch.arange(len(dataset)), torch.ones(len(dataset))
    )
    assert float(torch.autograd.grad(value, losses)[0].sum()) == pytest.approx(1)


def test_the_weights_of_group_dro_follow_each_class_by_itself(shapes):
    """Called class by class, against NumPy: other classes keep their weights, and an easy class learns as fast."""
    whole = shapes(per_cell=9)
    kept = torch.arange(len(whole)) % 9 < 3 + 2 * whole.domains  # 3, 5 and 7 images in the domains of a class
    dataset = replace(whole, images=whole.images[kept], labels=whole.labels[kept], domains=whole.domains[kept])
    group_cells = group_cells_of(dataset, find_groups(Context(), dataset, "class-domain"))
    risk = sample_risks(Risk(name="group-dro", rate=0.7, adjustment=2.0), group_cells, within_classes=True)()
    draw = torch.Generator().manual_seed(4)
    standing = np.full((3, 3), 1 / 3)
    for number in range(9):
        c = number % 3
        absent = number // 3  # in each round another domain has no image in the batch
        rows = ((dataset.labels == c) & (dataset.domains != absent)).nonzero().squeeze(1)
        domains = dataset.domains[rows].numpy()
        weights = torch.randint(1, 4, (len(rows),), generator=draw).float()
        losses = (torch.rand(len(rows), generator=draw) * 10.0**c).requires_grad_()
        own, alike = losses.detach().double().numpy(), weights.double().numpy()
        unit = (own * alike).sum() / alike.sum()
        raised = standing[c].copy()
        for d in set(domains.tolist()):
            here = domains == d
            mean = (own * alike)[here].sum() / alike[here].sum()
            raised[d] *= np.exp(0.7 * (mean / unit + 2 / np.sqrt(3 + 2 * d)))
        standing[c] = raised / raised.sum()
        value = risk(losses, rows, weights)
        totals = np.array([alike[domains == d].sum() for d in range(3)])
        expected = standing[c][domains] * alike / totals[domains]
        assert float(value.detach()) == pytest.approx(float((expected * own).sum()), rel=1e-4)
        np.testing.assert_allclose(torch.autograd.grad(value, losses)[0].numpy(), expected, rtol=1e-4)
    assert np.abs(standing - 1 / 3).max() > 0.1
