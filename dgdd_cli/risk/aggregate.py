"""How the losses of groups become one: mean, CVaR, mean plus maximum, group-DRO; all tails are the core's CVaR."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dgdd_cli.core import exponentiated_weights, grouped_cvar
from dgdd_cli.core.validation import check_blocks, check_of_groups, check_standing
from dgdd_cli.errors import UnknownName

__all__ = ["RISKS", "RiskValue", "exponentiated_weights", "group_risk", "mass"]

RISKS = ("mean", "cvar", "cvar-within", "mean-max", "group-dro")
_WITHIN = ("cvar-within", "mean-max")  # the tail is taken inside the groups, not over them


def mass(name: str) -> float:
    """What the weights of a risk sum to over a block: dividing by it, no risk makes longer steps than the mean."""
    return 2.0 if name == "mean-max" else 1.0


class RiskValue(NamedTuple):
    """The risk of each block of groups, and how it came about."""

    values: Tensor  # (B,), differentiable in the losses; 0 for a block without losses
    groups: Tensor  # (G,) value of each group, 0 for one without losses; carries no gradient
    weights: Tensor  # (G,) ∂values[block of g]/∂groups[g]; carries no gradient
    masses: Tensor  # (G,) how many losses each group has, or the sum of their weights; carries no gradient


def group_risk(
    losses: Tensor,
    groups: Tensor,
    *,
    num_groups: int,
    name: str,
    tail: float = 1.0,
    weights: Tensor | None = None,
    standing: Tensor | None = None,
    blocks: Tensor | None = None,
    num_blocks: int = 1,
    kernels: str = "auto",
) -> RiskValue:
    """The risk over groups of losses, by block: groups count alike whatever their size, empty ones not at all.

    With v_g the mean of the losses of group g, or their CVaR_α where the name says so:
    mean: (1/G) Σ v_g;  cvar: CVaR_α of the v_g;  cvar-within: (1/G) Σ v_g of v_g = CVaR_α(ℓ in g);
    mean-max: (1/G) Σ v_g + max v_g of the same v_g;  group-dro: Σ q_g v_g.
    The weights sum to 1 over a block, for mean-max to 2; for group-dro to the standing of the groups that have losses.
    Nothing synchronises: not one value is looked at on a device.

    Args:
        losses: float32 or float64 (n,), one for each sample, or for each (class, group) part.
        groups: int64 (n,) in [0, num_groups), or −1: in none. Checked on the CPU only.
        num_groups: G >= 1.
        name: one of `RISKS`.
        tail: α in (0, 1] of cvar (over the groups), cvar-within and mean-max (inside each group).
        weights: how much each loss counts inside its group, non-negative float (n,); None: all alike.
        standing: q float (G,) of group-dro, from `exponentiated_weights`; None for the others.
        blocks: int64 (G,) in [0, num_blocks), sets of groups that have a risk of their own, as the clusters of one
            class; None: all groups are in one.
        num_blocks: B >= 1.
        kernels: "auto", "triton" (float32 only) or "torch".

    Raises:
        ValueError: a tensor has a wrong shape, dtype or device, an id is out of range, `standing` is missing for
            group-dro or given for another risk.
        UsageError: `name` or `kernels` is unknown, `tail` is outside (0, 1], or Triton cannot run.

    Source: arXiv 2402.04676 (mean-max of CVaR; the paper, not its code), Sagawa et al. 2020 (group-dro).
    """
    if name not in RISKS:
        raise UnknownName("risk", name, RISKS)
    if (standing is None) == (name == "group-dro"):
        raise ValueError(f"standing is {'needed' if standing is None else 'not read'} by the risk {name!r}")
    share = tail if name in _WITHIN else 1.0
    inner = grouped_cvar(losses, groups, num_groups=num_groups, tail=share, weights=weights, kernels=kernels)
    if blocks is None:
        blocks = torch.zeros(num_groups, dtype=torch.int64, device=losses.device)
    check_blocks(blocks, num_blocks, inner.masses)
    here = (inner.masses > 0).to(losses.dtype)  # (G,)

    def over(share: float) -> tuple[Tensor, Tensor]:
        found = grouped_cvar(inner.values, blocks, num_groups=num_blocks, tail=share, weights=here, kernels=kernels)
        return found.values, found.gradient

    if standing is not None:
        check_standing(standing)
        check_of_groups("standing", standing, inner.masses)
        heard = standing.detach().to(losses.dtype) * here
        # a weight of zero takes nothing from its group, not even an infinity
        parts = torch.where(heard == 0, 0.0, heard * inner.values)
        values = parts.new_zeros(num_blocks).index_add(0, blocks, parts)
    elif name == "cvar":
        values, heard = over(tail)
    else:
        values, heard = over(1.0)
        if name == "mean-max":
            most, worst = over(0.5 / num_groups)  # less than the share of any group: the maximum alone
            values, heard = values + most, heard + worst
    return RiskValue(values, inner.values.detach(), heard, inner.masses)
