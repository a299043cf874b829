"""The risks over groups against float64 NumPy, finite differences, and what must hold of any of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgdd_cli.errors import UnknownName, UsageError
from dgdd_cli.risk.aggregate import RISKS, RiskValue, group_risk

TAILS = [1.0, 0.7, 0.5, 0.3, 0.05, 1e-9]
SIZES = (9, 4, 0, 1, 6, 2)  # one group is empty, one holds a single sample
BLOCKS = torch.tensor([0, 0, 0, 2, 2, 2])  # block 1 has no groups
Array = NDArray[np.float64]


def case(seed: int = 0, dtype: torch.dtype = torch.float64, ties: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Losses in groups of SIZES and two samples of none, in random order; the standing weights of the groups."""
    draw = torch.Generator().manual_seed(seed)
    groups = torch.repeat_interleave(torch.arange(-1, len(SIZES)), torch.tensor([2, *SIZES]))
    groups = groups[torch.randperm(len(groups), generator=draw)]
    losses = torch.randperm(len(groups), generator=draw).to(dtype) / 3 - 2
    if ties:
        losses = losses.round()
    standing = torch.rand(len(SIZES), generator=draw, dtype=dtype)
    return losses, groups, standing / standing.sum()


def risk(name: str, losses: Tensor, groups: Tensor, standing: Tensor, tail: float = 0.4, **others: Any) -> RiskValue:
    return group_risk(
        losses,
        groups,
        num_groups=len(standing),
        name=name,
        tail=tail,
        standing=standing if name == "group-dro" else None,
        **others,
    )


def cvar_dual(losses: Array, tail: float) -> float:
    """min over η of η + E[(ℓ − η)₊]/α, which is piecewise linear: its minimum lies on a breakpoint, a loss."""
    return min(eta + np.maximum(losses - eta, 0).mean() / tail for eta in losses)


def oracle(name: str, losses: Tensor, groups: Tensor, standing: Tensor, tail: float) -> float:
    """The risk of all groups in one block, from the definitions."""
    inside = {g: losses[groups == g].double().numpy() for g in range(len(standing)) if bool((groups == g).any())}
    within = name in ("cvar-within", "mean-max")
    values = {g: cvar_dual(own, tail) if within else own.mean() for g, own in inside.items()}
    every = np.array(list(values.values()))
    if name == "cvar":
        return cvar_dual(every, tail)
    if name == "mean-max":
        return every.mean() + every.max()
    if name == "group-dro":
        return sum(float(standing[g]) * value for g, value in values.items())
    return every.mean()


@pytest.mark.parametrize("name", RISKS)
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_the_definition(name: str, tail: float, ties: bool) -> None:
    losses, groups, standing = case(ties=ties)
    found = risk(name, losses, groups, standing, tail)
    assert found.values.shape == (1,)
    np.testing.assert_allclose(found.values.item(), oracle(name, losses, groups, standing, tail), atol=1e-10)
    assert found.masses.tolist() == list(SIZES)


def test_the_breakpoints_of_the_dual_are_enough() -> None:
    losses = case()[0].numpy()
    grid = np.linspace(losses.min() - 1, losses.max() + 1, 40_001)
    for tail in (0.7, 0.3, 0.05):
        fine = (grid + np.maximum(losses[:, None] - grid, 0).mean(0) / tail).min()
        assert cvar_dual(losses, tail) <= fine + 1e-12
        assert fine - cvar_dual(losses, tail) < 1e-3 / tail


@pytest.mark.parametrize("name", RISKS)
def test_each_block_has_the_risk_of_its_own_groups(name: str) -> None:
    losses, groups, standing = case(3)
    found = risk(name, losses, groups, standing, blocks=BLOCKS, num_blocks=3)
    for block in (0, 2):
        member = (groups >= 0) & (BLOCKS[groups.clamp(min=0)] == block)
        alone = risk(name, losses, torch.where(member, groups, -1), standing)
        torch.testing.assert_close(found.values[block], alone.values[0])
    assert found.values[1] == 0


@pytest.mark.parametrize("name", RISKS)
@pytest.mark.parametrize("tail", [1.0, 0.4, 1e-6])
def test_gradient_agrees_with_finite_differences(name: str, tail: float) -> None:
    losses, groups, standing = case(1)  # no two losses, or means of groups, within reach of the step
    leaf = losses.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: risk(name, x, groups, standing, tail, blocks=BLOCKS, num_blocks=3).values, leaf
    )


@pytest.mark.parametrize("name", RISKS)
@pytest.mark.parametrize("ties", [False, True])
def test_weights_and_gradient_have_the_mass_of_the_risk(name: str, ties: bool) -> None:
    losses, groups, standing = case(2, ties=ties)
    leaf = losses.requires_grad_()
    found = risk(name, leaf, groups, standing)
    (gradient,) = torch.autograd.grad(found.values.sum(), leaf)
    sizes = torch.tensor(SIZES)
    held = {"mean-max": 2.0, "group-dro": float(standing[sizes > 0].sum())}.get(name, 1.0)
    assert float(gradient.sum()) == pytest.approx(held)
    assert float(found.weights.sum()) == pytest.approx(held)
    of_groups = torch.zeros(len(SIZES), dtype=torch.float64).index_add(0, groups.clamp(min=0), gradient)
    torch.testing.assert_close(of_groups, found.weights)
    assert gradient[groups == -1].eq(0).all()
    assert found.weights[sizes == 0].eq(0).all()
    torch.testing.assert_close((found.weights * found.groups).sum(), found.values[0].detach())
    assert not any(part.requires_grad for part in found[1:])


@pytest.mark.parametrize("name", RISKS)
def test_all_in_one_group(name: str) -> None:
    losses = case(4)[0]
    groups = torch.zeros(len(losses), dtype=torch.int64)
    value = group_risk(
        losses, groups, num_groups=1, name=name, tail=1.0, standing=torch.ones(1) if name == "group-dro" else None
    ).values[0]
    torch.testing.assert_close(value, losses.mean() * (2 if name == "mean-max" else 1))


def test_a_whole_tail_is_the_mean_and_a_vanishing_one_the_maximum() -> None:
    losses, groups, standing = case(5)
    mean = risk("mean", losses, groups, standing)
    means = mean.groups[mean.masses > 0]
    most = torch.stack([losses[groups == g].max() for g in range(len(SIZES)) if SIZES[g]])
    for name in ("cvar", "cvar-within"):
        torch.testing.assert_close(risk(name, losses, groups, standing, 1.0).values, mean.values)
    torch.testing.assert_close(risk("cvar", losses, groups, standing, 1e-6).values[0], means.max())
    torch.testing.assert_close(risk("cvar-within", losses, groups, standing, 1e-6).values[0], most.mean())
    torch.testing.assert_close(risk("mean-max", losses, groups, standing, 1e-6).values[0], most.mean() + most.max())


def test_groups_count_alike_whatever_their_size() -> None:
    losses, groups = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 7.0]), torch.tensor([0, 0, 0, 0, 0, 1])
    assert group_risk(losses, groups, num_groups=2, name="mean").values.tolist() == [4]
    assert group_risk(losses, groups, num_groups=2, name="cvar", tail=0.5).values.tolist() == [7]
    assert group_risk(losses, groups, num_groups=2, name="mean-max", tail=0.5).values.tolist() == [11]
    equal = torch.tensor([0.5, 0.5])
    assert group_risk(losses, groups, num_groups=2, name="group-dro", standing=equal).values.tolist() == [4]


@pytest.mark.parametrize("name", RISKS)
@pytest.mark.parametrize("tail", [1.0, 0.4, 0.05])
def test_a_weight_counts_a_loss_several_times_or_not_at_all(name: str, tail: float) -> None:
    losses, groups, standing = case(7)
    weights = torch.arange(len(losses)).to(losses.dtype) % 4
    weights[groups == 3] = 2  # the single sample of its group
    found = risk(name, losses, groups, standing, tail, weights=weights)
    repeated = torch.repeat_interleave(torch.arange(len(losses)), weights.long())
    expected = risk(name, losses[repeated], groups[repeated], standing, tail)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", RISKS)
def test_the_order_of_samples_and_the_numbers_of_groups_do_not_matter(name: str) -> None:
    losses, groups, standing = case(6)
    draw = torch.Generator().manual_seed(1)
    order, renamed = (torch.randperm(count, generator=draw) for count in (len(losses), len(standing)))
    new = torch.where(groups < 0, -1, renamed[groups.clamp(min=0)])
    moved_standing = torch.empty_like(standing).index_copy_(0, renamed, standing)
    plain, moved = risk(name, losses, groups, standing), risk(name, losses[order], new[order], moved_standing)
    torch.testing.assert_close(plain.values, moved.values)
    torch.testing.assert_close(plain.weights, moved.weights[renamed])


@pytest.mark.parametrize("name", RISKS)
def test_float32_stays_close_to_float64(name: str) -> None:
    losses, groups, standing = case(7)
    double, single = risk(name, losses, groups, standing), risk(name, losses.float(), groups, standing.float())
    assert single.values.dtype == single.weights.dtype == torch.float32
    for one, other in zip(single, double, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RISKS)
def test_no_losses_and_single_samples(name: str) -> None:
    none = risk(name, torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.full((3,), 1 / 3))
    assert none.values.tolist() == [0]
    assert none.weights.tolist() == [0, 0, 0]
    one = risk(name, torch.tensor([5.0]), torch.tensor([1]), torch.tensor([0.0, 1.0, 0.0]))
    assert one.values.tolist() == [10 if name == "mean-max" else 5]


def test_a_loss_that_is_not_finite_touches_only_its_own_block() -> None:
    losses, groups = torch.tensor([1.0, torch.nan, 2.0, torch.inf]), torch.tensor([0, 0, 1, 2])
    blocks = torch.tensor([0, 1, 2])
    for name in RISKS:
        found = risk(name, losses, groups, torch.ones(3), blocks=blocks, num_blocks=3).values
        assert found[0].isnan()
        assert found[1:].tolist() == ([4, torch.inf] if name == "mean-max" else [2, torch.inf])
    spared = risk("group-dro", losses, groups, torch.tensor([0.0, 1.0, 0.0])).values
    assert spared.tolist() == [2]


@pytest.mark.parametrize("name", RISKS)
def test_not_one_value_is_looked_at_on_a_device(name: str) -> None:
    # reading a meta tensor raises, where reading a CUDA one would wait for it
    losses, groups, standing = (tensor.to("meta") for tensor in case(dtype=torch.float32))
    leaf = losses.requires_grad_()
    found = risk(name, leaf, groups, standing, blocks=BLOCKS.to("meta"), num_blocks=3)
    (gradient,) = torch.autograd.grad(found.values.sum(), leaf)
    assert (found.values.shape, found.weights.shape, gradient.shape) == ((3,), standing.shape, losses.shape)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"name": "cvra"}, UnknownName, "unknown risk 'cvra'"),
        ({"name": "group-dro"}, ValueError, "standing is needed"),
        ({"standing": torch.ones(2)}, ValueError, "standing is not read by the risk 'cvar'"),
        ({"name": "group-dro", "standing": torch.ones(3)}, ValueError, r"standing must be \(2,\), not \(3,\)"),
        ({"name": "group-dro", "standing": torch.tensor([1, 0])}, ValueError, "standing must be float32"),
        ({"name": "group-dro", "standing": torch.tensor([-0.5, 1.5])}, ValueError, "must not be negative"),
        ({"tail": 0.0}, UsageError, r"in \(0, 1\]"),
        ({"name": "mean-max", "tail": 1.5}, UsageError, r"in \(0, 1\]"),
        ({"losses": torch.ones(4).half()}, ValueError, "losses must be float32 or float64"),
        ({"groups": torch.tensor([0, 1, 2, 0])}, ValueError, r"in \[-1, 2\)"),
        ({"groups": torch.zeros(3, dtype=torch.int64)}, ValueError, r"groups must be \(4,\)"),
        ({"num_groups": 0}, ValueError, "num_groups must be at least 1"),
        ({"blocks": torch.tensor([0, 1])}, ValueError, r"blocks must be in \[0, 1\)"),
        ({"blocks": torch.tensor([0.0, 1.0])}, ValueError, "blocks must be torch.int64"),
        ({"blocks": torch.tensor([0])}, ValueError, r"blocks must be \(2,\)"),
        ({"num_blocks": 0}, ValueError, "num_blocks must be at least 1"),
        ({"kernels": "cuda"}, UnknownName, "unknown kernels"),
    ],
)
def test_wrong_input(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    arguments: dict[str, Any] = {"losses": torch.ones(4), "groups": torch.tensor([0, 1, -1, 0]), "num_groups": 2}
    with pytest.raises(error, match=words):
        group_risk(**(arguments | {"name": "cvar", "tail": 0.5} | changes))
