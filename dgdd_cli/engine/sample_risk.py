"""A risk over the losses of real images, for gradient matching: their mean where there is none."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dgdd_cli.config import Risk
from dgdd_cli.engine.risk_parts import RiskParts
from dgdd_cli.risk.aggregate import exponentiated_weights, group_risk

# losses (n,), rows of the source set int64 (n,), whether a row counts bool (n,) -> scalar
SampleRisk = Callable[[Tensor, Tensor, Tensor], Tensor]


def sample_risk(
    risk: Risk | None, parts: RiskParts | None, *, within_classes: bool, kernels: str = "auto"
) -> SampleRisk:
    """The risk of losses (n,) of the source images `rows` (n,) that count, a scalar differentiable in the losses.

    `within_classes`: over the groups of each class, summed over classes (what a class's gradient is matched to);
    otherwise over all groups (what a network is trained on). The weights of group-DRO accumulate from call to call, by
    losses in units of their mean.
    """
    if risk is None or parts is None:
        return lambda losses, rows, counts: losses @ counts.to(losses.dtype) / counts.sum()
    if within_classes:
        of_image, blocks = parts.partition.ids, parts.classes
        images = torch.bincount(parts.partition.ids, minlength=parts.partition.count)
    else:
        of_image, blocks = parts.groups[parts.partition.ids], torch.zeros_like(parts.blocks)
        images = parts.group_images
    groups, count = len(blocks), int(blocks.max()) + 1
    standing = 1 / torch.bincount(blocks, minlength=count)[blocks].to(torch.float32)

    def value(losses: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
        nonlocal standing
        own = torch.where(counts, of_image[rows], -1)
        if risk.name == "group-dro":
            held, place = counts.to(losses.dtype), own.clamp_min(0)
            sizes = torch.zeros_like(standing).index_add_(0, place, held)
            totals = torch.zeros_like(standing).index_add_(0, place, losses.detach() * held)
            unit = (totals.sum() / held.sum()).clamp_min(torch.finfo(losses.dtype).tiny)
            means = totals / sizes.clamp_min(1) / unit
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
            standing=standing if risk.name == "group-dro" else None,
            kernels=kernels,
        )
        return found.values.sum()

    return value
