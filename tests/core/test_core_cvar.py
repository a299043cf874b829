from __future__ import annotations

from itertools import pairwise

import core_oracle
import numpy as np
import pytest
import torch
from torch import Tensor

from dgdd_cli.core import cvar, grouped_cvar

TAILS = [1.0, 0.7, 0.5, 0.25, 0.1, 1e-3, 1e-9]


def unequal_groups(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """103 losses with ties in groups of 60, 20, 0, 1, 7, 0 and the rest in none; weights, some of them zero."""
    generator = torch.Generator().manual_seed(5)
    losses = torch.randn(103, generator=generator, dtype=dtype).round(decimals=1)
    sizes = torch.tensor([15, 60, 20, 0, 1, 7, 0])
    groups = torch.repeat_interleave(torch.arange(-1, 6), sizes)[torch.randperm(103, generator=generator)]
    weights = torch.rand(103, generator=generator, dtype=dtype)
    weights[::5] = 0.0
    weights[groups == 4] *= 0.0
    return losses, groups, weights


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_the_definition_and_the_dual(tail: float, weighted: bool) -> None:
    losses, groups, weights = unequal_groups(torch.float64)
    used = weights if weighted else torch.ones_like(weights)
    risk = grouped_cvar(losses, groups, num_groups=6, tail=tail, weights=weights if weighted else None)
    for group in range(6):
        member = groups == group
        inside, mass = losses[member].numpy(), used[member].numpy()
        shares = core_oracle.tail_shares(inside, mass, tail) if len(inside) else np.zeros(0)
        np.testing.assert_allclose(risk.gradient[member].numpy(), shares, atol=1e-12)
        np.testing.assert_allclose(risk.values[group], (shares * inside).sum(), atol=1e-12)
        np.testing.assert_allclose(risk.masses[group], mass.sum(), atol=1e-12)
        if mass.sum() > 0:
            np.testing.assert_allclose(shares.sum(), 1, atol=1e-12)
            np.testing.assert_allclose(risk.values[group], core_oracle.cvar_dual(inside, mass, tail), atol=1e-9)
        else:
            assert risk.values[group] == 0
    assert risk.gradient[groups == -1].eq(0).all()


def test_float32_stays_close_to_float64() -> None:
    losses, groups, weights = unequal_groups()
    for given in (None, weights):
        single = grouped_cvar(losses, groups, num_groups=6, tail=0.3, weights=given)
        double = grouped_cvar(
            losses.double(), groups, num_groups=6, tail=0.3, weights=None if given is None else given.double()
        )
        for one, other in zip(single, double, strict=True):
            assert one.dtype == torch.float32
            torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


def test_many_samples_keep_small_groups_exact() -> None:
    losses = torch.arange(300_000, dtype=torch.float32).flip(0)
    groups = torch.zeros(300_000, dtype=torch.int64)
    groups[-3:] = 1
    weights = torch.full((300_000,), 0.1)
    risk = grouped_cvar(losses, groups, num_groups=2, tail=0.5, weights=weights)
    torch.testing.assert_close(risk.gradient[-3:], torch.tensor([2 / 3, 1 / 3, 0.0]))


def test_whole_mass_is_the_mean_and_vanishing_mass_the_maximum() -> None:
    losses, groups, weights = unequal_groups()
    member = groups == 0
    mean = grouped_cvar(losses, groups, num_groups=6, tail=1.0).values[0]
    weighted = grouped_cvar(losses, groups, num_groups=6, tail=1.0, weights=weights).values[0]
    most = grouped_cvar(losses, groups, num_groups=6, tail=1e-6).values[0]
    torch.testing.assert_close(mean, losses[member].mean())
    torch.testing.assert_close(weighted, (losses * weights)[member].sum() / weights[member].sum())
    assert most == losses[member].max()


def test_larger_tails_never_raise_the_risk_and_translation_and_scale_follow() -> None:
    losses, _, weights = unequal_groups()
    for given in (None, weights):
        risks = [float(cvar(losses, tail, given)) for tail in TAILS]
        assert all(one <= other + 1e-6 for one, other in pairwise(risks))
        for tail in TAILS:
            moved = cvar(losses * 3 + 10, tail, given)
            torch.testing.assert_close(moved, cvar(losses, tail, given) * 3 + 10)


def test_permuting_the_samples_permutes_the_result() -> None:
    generator = torch.Generator().manual_seed(9)
    losses, groups = torch.randn(103, generator=generator), unequal_groups()[1]
    order = torch.randperm(103, generator=generator)
    plain = grouped_cvar(losses, groups, num_groups=6, tail=0.3)
    moved = grouped_cvar(losses[order], groups[order], num_groups=6, tail=0.3)
    torch.testing.assert_close(plain.values, moved.values)
    assert torch.equal(plain.gradient[order], moved.gradient)


def test_equal_losses_are_taken_in_the_order_of_their_indices() -> None:
    risk = grouped_cvar(torch.ones(5), torch.zeros(5, dtype=torch.int64), num_groups=1, tail=0.5)
    torch.testing.assert_close(risk.gradient, torch.tensor([0.4, 0.4, 0.2, 0.0, 0.0]))


def test_a_weight_above_the_tail_takes_all() -> None:
    risk = grouped_cvar(
        torch.tensor([3.0, 2.0, 9.0]),
        torch.zeros(3, dtype=torch.int64),
        num_groups=1,
        tail=0.25,
        weights=torch.tensor([8.0, 1.0, 1.0]),
    )
    torch.testing.assert_close(risk.gradient, torch.tensor([0.6, 0.0, 0.4]))
    torch.testing.assert_close(risk.values, torch.tensor([0.6 * 3 + 0.4 * 9]))


@pytest.mark.parametrize("tail", [1.0, 0.3, 1e-6])
def test_gradient_is_the_share_of_the_sample(tail: float) -> None:
    losses, groups, weights = unequal_groups()
    losses.requires_grad_()
    of_values = torch.arange(1.0, 7.0)
    risk = grouped_cvar(losses, groups, num_groups=6, tail=tail, weights=weights)
    (risk.values * of_values).sum().backward()
    torch.testing.assert_close(losses.grad, risk.gradient * of_values[groups.clamp(min=0)])
    assert not risk.gradient.requires_grad
    assert not risk.masses.requires_grad


def test_gradient_agrees_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(2)
    losses = torch.randperm(20, generator=generator).double().requires_grad_()  # no ties within reach of the step
    groups = torch.randint(-1, 4, (20,), generator=generator)
    weights = torch.rand(20, generator=generator, dtype=torch.float64)
    for given in (None, weights):
        assert torch.autograd.gradcheck(
            lambda ell, given=given: grouped_cvar(ell, groups, num_groups=4, tail=0.35, weights=given).values, losses
        )


def test_infinite_and_nan_losses_touch_only_their_own_group() -> None:
    losses = torch.tensor([1.0, torch.nan, 2.0, -torch.inf, 5.0, 7.0, torch.nan], requires_grad=True)
    groups = torch.tensor([0, 0, 1, 1, 2, 2, -1])
    risk = grouped_cvar(losses, groups, num_groups=3, tail=0.5)
    assert risk.values[0].isnan()
    assert risk.values[1:].tolist() == [2.0, 7.0]
    risk.values[1:].sum().backward()
    assert losses.grad is not None
    assert losses.grad.tolist() == [0, 0, 1, 0, 0, 1, 0]


def test_no_samples_at_all() -> None:
    risk = grouped_cvar(torch.zeros(0), torch.zeros(0, dtype=torch.int64), num_groups=2, tail=0.5)
    assert risk.values.tolist() == risk.masses.tolist() == [0, 0]
    with pytest.raises(ValueError, match="no losses"):
        cvar(torch.zeros(0), 0.5)


def test_one_group_is_a_scalar_with_a_gradient() -> None:
    losses = torch.tensor([1.0, 4.0, 2.0, 3.0], requires_grad=True)
    value = cvar(losses, 0.5)
    value.backward()
    assert value.shape == ()
    assert float(value.detach()) == 3.5
    assert losses.grad is not None
    assert losses.grad.tolist() == [0.0, 0.5, 0.0, 0.5]
