"""The losses of a step domain by domain, and what each weighs: surgery looks at the gradient of every domain.

Where the gradient of an objective is linear in its target, as that of the squared distance to a mean, the gradient of
the average and of any risk over groups is a weighted sum of domain-wise ones. Where it is not, the pooled loss stands
apart, with a product of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.config import Matching, Risk
from dgdd_cli.matching import OBJECTIVES
from dgdd_cli.methods.cells import Cells
from dgdd_cli.methods.group_cells import GroupCells, SplitCells
from dgdd_cli.methods.pooling import average, risk_of_group_cells
from dgdd_cli.probes.source import Probe


@dataclass(frozen=True, slots=True, eq=False)
class DomainLosses:
    """ℓ_{c,d} with a gradient, the weights w_{c,d} of the domains in the pooled loss, and the value of that.

    Its gradient is Σ w ∂ℓ, or that of `apart`.
    """

    each: Tensor  # (C, D), 0 for a cell without images
    weights: Tensor  # (C, D)
    pooled: Tensor  # (), without a gradient
    standing: Tensor  # (G,)
    apart: Tensor | None = None  # (), None where Σ w ∂ℓ is the gradient


DomainWise = Callable[[Tensor, Probe, Tensor], DomainLosses]  # features, probe, standing


def averaged_domains(matching: Matching, cells: Cells) -> DomainWise:
    """ℓ(mean f(S_c), μ_{c,d}) of every cell; what is pooled is their `average`."""
    objective, of_means = OBJECTIVES[matching.name], average(matching, cells)
    of_class = objective.prepare(cells.of_class)

    def losses(features: Tensor, probe: Probe, standing: Tensor) -> DomainLosses:
        every = [objective.losses(features, of_class, targets) for targets in probe.cells.unbind(1)]
        each = torch.stack(every, 1) * cells.present
        if objective.samples:  # the average is this sum
            return DomainLosses(each, cells.weights, (cells.weights * each.detach()).sum(), standing)
        if objective.linear:
            return DomainLosses(each, cells.weights, of_means(features.detach(), probe, standing)[0], standing)
        pooled, _ = of_means(features, probe, standing)
        return DomainLosses(each, cells.weights, pooled.detach(), standing, pooled)

    return losses


def domains_at_risk(
    matching: Matching,
    risk: Risk,
    group_cells: GroupCells,
    split_cells: SplitCells,
    cells: Cells,
    *,
    samples: int = 0,
    kernels: str = "auto",
) -> DomainWise:
    """The losses of every cell, its images weighed as the risk over groups weighs them; the probes hold split cells.

    With q_p = ∂risk/∂ℓ_p of group cell p (class c, group g) and s_{p,d} the share of domain d in its images:
    w_{c,d} = Σ_{p in c} q_p s_{p,d} and ℓ_{c,d} = Σ_{p in c} q_p s_{p,d} ℓ(mean f(S_c), μ_{p,d}) / w_{c,d}; a cell that
    the risk gives no weight keeps its plain loss. For a linear objective the weighted sum of these gradients is that of
    the risk, Σ_p q_p ∂ℓ_p; for any other Σ_p q_p ℓ_p stands `apart`. One on `samples` takes ℓ_p from samples of the
    whole group cell.
    """
    objective = OBJECTIVES[matching.name]
    of_group_cell, of_split_cell = (
        objective.prepare(cells.of_class[own]) for own in (group_cells.classes, split_cells.classes)
    )  # P, Q
    value = risk_of_group_cells(risk, group_cells, classes=len(cells.of_class), kernels=kernels)
    classes, sources = cells.present.shape
    cell = split_cells.classes * sources + split_cells.domains  # (Q,)
    of_samples = sample_of_group_cells(split_cells, samples).to(cell.device) if objective.samples else None  # (P, R)

    def over_group_cells(values: Tensor) -> Tensor:
        return values.new_zeros(len(group_cells.classes), *values.shape[1:]).index_add(
            0, split_cells.group_cells, values
        )

    def over_cells(values: Tensor) -> Tensor:
        return values.new_zeros(classes * sources).index_add(0, cell, values)

    def targets_of_group_cells(of_split_cells: Tensor) -> Tensor:
        if of_samples is None:
            return over_group_cells(split_cells.of_group_cell[:, None] * of_split_cells)
        return of_split_cells.flatten(0, 1)[of_samples]

    def losses(features: Tensor, probe: Probe, standing: Tensor) -> DomainLosses:
        of_split_cells = objective.losses(features, of_split_cell, probe.group_cells)  # (Q,)
        own = features.detach() if objective.linear else features
        of_group_cells = objective.losses(own, of_group_cell, targets_of_group_cells(probe.group_cells))  # (P,)
        at = of_group_cells.detach().requires_grad_()
        pooled, standing = value(at, standing)
        (weights,) = torch.autograd.grad(pooled, at)
        mass = weights[split_cells.group_cells] * split_cells.of_group_cell
        of_cell = over_cells(mass)
        heard = of_cell[cell]
        shares = torch.where(heard > 0, mass / heard.clamp_min(torch.finfo(mass.dtype).tiny), split_cells.of_cell)
        each = over_cells(shares * of_split_cells).view(classes, sources)
        apart = None if objective.linear else torch.dot(weights, of_group_cells)
        return DomainLosses(each, of_cell.view(classes, sources), pooled.detach(), standing, apart)

    return losses


def sample_of_group_cells(split_cells: SplitCells, samples: int) -> Tensor:
    """Which of the split cells' samples (Q · R) make up R samples of every group cell, int64 (P, R): as many of each
    split cell as its share of the group cell, largest remainders first."""
    of_group_cell, owners = split_cells.of_group_cell.cpu() * samples, split_cells.group_cells.cpu()
    rows = []
    for group_cell in range(int(owners.max()) + 1):
        own = (owners == group_cell).nonzero().squeeze(1)
        counts = of_group_cell[own].floor().long()
        remainders = (of_group_cell[own] - counts).argsort(descending=True, stable=True)
        counts[remainders[: samples - int(counts.sum())]] += 1
        rows.append(
            torch.cat([split_cell * samples + torch.arange(int(n)) for split_cell, n in zip(own, counts, strict=True)])
        )
    return torch.stack(rows)
