"""One loss from those of all classes and domains: their average, or a risk over groups."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dgdd_cli.config import Matching, Risk
from dgdd_cli.matching import OBJECTIVES
from dgdd_cli.methods.cells import Cells
from dgdd_cli.methods.group_cells import GroupCells
from dgdd_cli.probes.source import Probe
from dgdd_cli.risk.aggregate import exponentiated_weights, group_risk, mass

Pooling = Callable[[Tensor, Probe, Tensor], tuple[Tensor, Tensor]]  # features, probe, standing -> loss, standing
RiskOfGroupCells = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # losses (P,), standing -> loss, standing


def average(matching: Matching, cells: Cells) -> Pooling:
    """Σ_c ℓ(mean f(S_c), Σ_d w_{c,d} μ_{c,d}): every class answers for the weighted mean of its domains.

    An objective that compares with samples has no mean to answer for: its losses are averaged, Σ_{c,d} w_{c,d} ℓ_{c,d}.
    """
    objective = OBJECTIVES[matching.name]
    of_class = objective.prepare(cells.of_class)

    def loss(features: Tensor, probe: Probe, standing: Tensor) -> tuple[Tensor, Tensor]:
        if objective.samples:
            each = [objective.losses(features, of_class, samples) for samples in probe.cells.unbind(1)]
            return (cells.weights * torch.stack(each, 1)).sum(), standing
        targets = (cells.weights[:, :, None] * probe.cells).sum(1)  # (C, F)
        return objective.losses(features, of_class, targets).sum(), standing

    return loss


def at_risk(matching: Matching, risk: Risk, group_cells: GroupCells, cells: Cells, *, kernels: str = "auto") -> Pooling:
    """The risk of ℓ(mean f(S_c), μ_{c,g}): every class answers for each of its group cells, which the probes hold."""
    objective = OBJECTIVES[matching.name]
    of_group_cell = objective.prepare(cells.of_class[group_cells.classes])  # of P group cells
    value = risk_of_group_cells(risk, group_cells, classes=len(cells.of_class), kernels=kernels)

    def loss(features: Tensor, probe: Probe, standing: Tensor) -> tuple[Tensor, Tensor]:
        return value(objective.losses(features, of_group_cell, probe.group_cells), standing)

    return loss


def risk_of_group_cells(
    risk: Risk, group_cells: GroupCells, *, classes: int, kernels: str = "auto"
) -> RiskOfGroupCells:
    """The risk over groups of the losses (P,) of their cells, summed over classes, and the standing that it leaves.

    Groups that span classes hold the mean over their classes, so their risk counts once for each class. Group-DRO
    weighs by losses in units of their mean, so that its rate means the same for every network.
    """
    scale = classes / group_cells.block_count / mass(risk.name)

    def value(losses: Tensor, standing: Tensor) -> tuple[Tensor, Tensor]:
        if risk.name == "group-dro":
            standing = accumulate(risk, group_cells, in_units_of_their_mean(losses.detach()), standing)
        found = group_risk(
            losses,
            group_cells.groups,
            num_groups=len(group_cells.blocks),
            blocks=group_cells.blocks,
            num_blocks=group_cells.block_count,
            name=risk.name,
            tail=risk.tail or 1.0,
            standing=standing if risk.name == "group-dro" else None,
            kernels=kernels,
        )
        return scale * found.values.sum(), standing

    return value


def accumulate(risk: Risk, group_cells: GroupCells, losses: Tensor, standing: Tensor) -> Tensor:
    """The standing weights of group-DRO after the losses (P,) of one step, (G,)."""
    values = torch.zeros_like(standing).index_add_(0, group_cells.groups, losses) / group_cells.cells_of_group
    return exponentiated_weights(
        standing,
        values,
        group_cells.group_images,
        blocks=group_cells.blocks,
        num_blocks=group_cells.block_count,
        rate=risk.rate or 0.0,
        adjustment=risk.adjustment or 0.0,
    )


def in_units_of_their_mean(losses: Tensor) -> Tensor:
    """ℓ / mean ℓ, float (n,); zeros stay zeros."""
    return losses / losses.mean().clamp_min(torch.finfo(losses.dtype).tiny)


def uniform_standing(group_cells: GroupCells) -> Tensor:
    """Equal weights for the groups of each block, (G,) float32."""
    sizes = torch.bincount(group_cells.blocks, minlength=group_cells.block_count)
    return 1 / sizes[group_cells.blocks].to(torch.float32)
