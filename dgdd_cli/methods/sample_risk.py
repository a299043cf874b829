"""A risk over the losses of real images, for gradient matching: their mean where there is none."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dgdd_cli.config import Risk
from dgdd_cli.methods.group_cells import GroupCells
from dgdd_cli.risk.aggregate import exponentiated_weights, group_risk, mass

# losses (n,), rows of the source set int64 (n,), how much each counts float32 (n,) -> scalar
SampleRisk = Callable[[Tensor, Tensor, Tensor], Tensor]


def sample_risks(
    risk: Risk | None, group_cells: GroupCells | None, *, within_classes: bool, kernels: str = "auto"
) -> Callable[[], SampleRisk]:
    """What begins a risk of losses (n,) of the source images `rows` (n,) by their weights, a scalar differentiable in
    the losses. Groups are counted here, once for all of them.

    `within_classes`: over the groups of each class, summed over classes (what a class's gradient is matched to);
    otherwise over all groups (what a network is trained on). The weights of group-DRO accumulate from call to call, by
    losses in units of the mean of the call: its rate means the same for a class that is easy and one that is hard.
    """
    if risk is None or group_cells is None:
        return lambda: lambda losses, rows, weights: losses @ weights / weights.sum()
    if within_classes:
        of_image, blocks = group_cells.partition.ids, group_cells.classes
        images = torch.bincount(group_cells.partition.ids, minlength=group_cells.partition.count)
    else:
        of_image, blocks = group_cells.groups[group_cells.partition.ids], torch.zeros_like(group_cells.blocks)
        images = group_cells.group_images
    groups, count = len(blocks), int(blocks.max()) + 1
    alike = 1 / torch.bincount(blocks, minlength=count)[blocks].to(torch.float32)

    def value(losses: Tensor, rows: Tensor, weights: Tensor, standing: Tensor) -> tuple[Tensor, Tensor]:
        own = of_image[rows]
        if risk.name == "group-dro":
            tiny = torch.finfo(losses.dtype).tiny
            sizes = torch.zeros_like(standing).index_add_(0, own, weights)
            totals = torch.zeros_like(standing).index_add_(0, own, losses.detach() * weights)
            unit = (totals.sum() / weights.sum()).clamp_min(tiny)
            means = totals / sizes.clamp_min(tiny) / unit
            standing = exponentiated_weights(
                standing,
                means,
                torch.where(sizes > 0, images, 0),
                blocks=blocks,
                num_blocks=count,
                rate=risk.rate or 0.0,
                adjustment=risk.adjustment or 0.0,
            )
        found = group_risk(
            losses,
            own,
            num_groups=groups,
            blocks=blocks,
            num_blocks=count,
            name=risk.name,
            tail=risk.tail or 1.0,
            weights=weights,
            standing=standing if risk.name == "group-dro" else None,
            kernels=kernels,
        )
        return found.values.sum() / mass(risk.name), standing

    def begin() -> SampleRisk:
        standing = alike

        def accumulated(losses: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
            nonlocal standing
            found, standing = value(losses, rows, weights, standing)
            return found

        return accumulated

    return begin
