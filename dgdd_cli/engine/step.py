"""One step of distribution matching: from a probe and the synthetic images to the gradient that moves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.config import Matching, Risk, Surgery
from dgdd_cli.engine.probes import Probe
from dgdd_cli.engine.risk_parts import RiskParts
from dgdd_cli.matching import OBJECTIVES
from dgdd_cli.risk.aggregate import exponentiated_weights, group_risk
from dgdd_cli.surgery import spectral_update


@dataclass(frozen=True, slots=True)
class Cells:
    """Who answers for what: fixed through a run. C classes, D domains, N images."""

    labels: Tensor  # (N,) int64
    of_class: Tensor  # (C, N) bool
    of_cell: Tensor  # (C·D, N) bool, images dedicated to a domain
    weights: Tensor  # (C, D) float32, a class's domains sum to 1, empty cells 0
    present: Tensor  # (C, D) bool


def describe_cells(labels: Tensor, domains: Tensor, counts: Tensor, weighting: str) -> Cells:
    """The cells of a synthetic set: labels and domains (N,), counts (C, D) of real images.

    weighting `share` weighs a domain by its share of the class's images, `equal` all that have any alike.
    """
    classes, sources = counts.shape
    present = counts > 0
    mass = counts if weighting == "share" else present
    weights = mass / mass.sum(1, keepdim=True).clamp_min(1)
    of_class = torch.arange(classes, device=labels.device)[:, None] == labels
    cells = labels * sources + domains
    of_cell = torch.arange(classes * sources, device=labels.device)[:, None] == cells
    return Cells(labels, of_class, of_cell, weights.to(torch.float32), present)


@dataclass(frozen=True, slots=True, eq=False)
class Stepped:
    """What a step finds: the gradient (N, 3, H, W), the standing weights of the groups (G,), and figures to report."""

    update: Tensor
    standing: Tensor
    figures: dict[str, Tensor]


Pooling = Callable[[Tensor, Probe, Tensor], tuple[Tensor, Tensor]]  # features, probe, standing -> loss, standing


@dataclass(frozen=True, slots=True)
class Pooled:
    """A loss over all domains, and, where it is a function of the cells' losses, its derivative by them.

    `cell_weights`: features (N, F), probe, standing -> (C, D); with it the pooled gradient is a sum of domain-wise
    ones.
    """

    loss: Pooling
    cell_weights: Callable[[Tensor, Probe, Tensor], Tensor] | None = None


StepGradient = Callable[[Tensor, Probe, Tensor], Stepped]


def average(matching: Matching, cells: Cells) -> Pooled:
    """Σ_c ℓ(mean f(S_c), Σ_d w_{c,d} μ_{c,d}): every class answers for the weighted mean of its domains.

    An objective that compares with samples has no mean to answer for: its losses are averaged, Σ_{c,d} w_{c,d} ℓ_{c,d}.
    """
    objective = OBJECTIVES[matching.name]

    def loss(features: Tensor, probe: Probe, standing: Tensor) -> tuple[Tensor, Tensor]:
        if objective.samples:
            each = [objective.losses(features, cells.of_class, samples) for samples in probe.cells.unbind(1)]
            return (cells.weights * torch.stack(each, 1)).sum(), standing
        targets = (cells.weights[:, :, None] * probe.cells).sum(1)  # (C, F)
        return objective.losses(features, cells.of_class, targets).sum(), standing

    return Pooled(loss, lambda features, probe, standing: cells.weights)


def at_risk(matching: Matching, risk: Risk, parts: RiskParts, cells: Cells, *, kernels: str = "auto") -> Pooled:
    """The risk over groups of ℓ(mean f(S_c), μ_{c,g}), summed over classes: every class answers for each of its parts.

    Groups that span classes hold the mean over their classes, so their risk counts once for each class. The weights of
    mean-max sum to 2 and are halved: no risk makes longer steps than the average. Group-DRO weighs by losses in units
    of their mean, so that its rate means the same for every network.
    """
    objective = OBJECTIVES[matching.name]
    of_part = cells.of_class[parts.classes]  # (P, N)
    scale = len(cells.of_class) / parts.block_count / (2 if risk.name == "mean-max" else 1)

    def value(losses: Tensor, standing: Tensor) -> tuple[Tensor, Tensor]:
        if risk.name == "group-dro":
            standing = accumulate(risk, parts, in_units_of_their_mean(losses.detach()), standing)
        found = group_risk(
            losses,
            parts.groups,
            num_groups=len(parts.blocks),
            blocks=parts.blocks,
            num_blocks=parts.block_count,
            name=risk.name,
            tail=risk.tail or 1.0,
            standing=standing if risk.name == "group-dro" else None,
            kernels=kernels,
        )
        return scale * found.values.sum(), standing

    def loss(features: Tensor, probe: Probe, standing: Tensor) -> tuple[Tensor, Tensor]:
        return value(objective.losses(features, of_part, probe.parts), standing)

    def cell_weights(features: Tensor, probe: Probe, standing: Tensor) -> Tensor:
        losses = objective.losses(features, of_part, probe.parts).detach().requires_grad_()
        (weights,) = torch.autograd.grad(value(losses, standing)[0], losses)
        return torch.zeros_like(cells.weights).index_put((parts.classes, parts.domains), weights)

    return Pooled(loss, cell_weights if parts.domains is not None else None)


def accumulate(risk: Risk, parts: RiskParts, losses: Tensor, standing: Tensor) -> Tensor:
    """The standing weights of group-DRO after the losses (P,) of one step, (G,)."""
    values = torch.zeros_like(standing).index_add_(0, parts.groups, losses) / parts.group_parts
    return exponentiated_weights(
        standing,
        values,
        parts.group_images,
        blocks=parts.blocks,
        num_blocks=parts.block_count,
        rate=risk.rate or 0.0,
        adjustment=risk.adjustment or 0.0,
    )


def in_units_of_their_mean(losses: Tensor) -> Tensor:
    """ℓ / mean ℓ, float (n,); zeros stay zeros."""
    return losses / losses.mean().clamp_min(torch.finfo(losses.dtype).tiny)


def uniform_standing(parts: RiskParts) -> Tensor:
    """Equal weights for the groups of each block, (G,) float32."""
    sizes = torch.bincount(parts.blocks, minlength=parts.block_count)
    return 1 / sizes[parts.blocks].to(torch.float32)


def pooled_gradient(pooled: Pooled) -> StepGradient:
    """∂/∂S of a pooled loss: one forward, one backward; figures: the loss."""

    def gradient(images: Tensor, probe: Probe, standing: Tensor) -> Stepped:
        loss, standing = pooled.loss(probe.view(images), probe, standing)
        return Stepped(torch.autograd.grad(loss, images)[0], standing, {"loss": loss.detach()})

    return gradient


def single_products(losses: Sequence[Tensor], images: Tensor) -> Tensor:
    """∂ℓ_m/∂S for each of M losses, (M, N, 3, H, W), one vector-Jacobian product after the other."""
    *first, last = losses
    gradients = [torch.autograd.grad(loss, images, retain_graph=True)[0] for loss in first]
    return torch.stack([*gradients, torch.autograd.grad(last, images)[0]])  # the last one frees the graph


def batched_products(losses: Sequence[Tensor], images: Tensor) -> Tensor:
    """The same in one batched product: fills a GPU that a single one leaves idle, and gains nothing on a CPU."""
    each = torch.eye(len(losses), device=images.device, dtype=images.dtype)
    return torch.autograd.grad(torch.stack(list(losses)), images, each, is_grads_batched=True)[0]


def surgical_gradient(
    matching: Matching, surgery: Surgery, cells: Cells, pooled: Pooled | None = None, *, kernels: str = "auto"
) -> StepGradient:
    """The pooled gradient after spectral surgery: one forward, D + 1 vector-Jacobian products.

    The domain-wise gradients g_d = ∂L_d/∂S also give the pooled one, Σ_d w_d g_d, because the gradient of a squared
    distance is linear in its target, and losses on samples are averaged. A `pooled` risk over cells only has other
    weights; one over other groups takes the place of that sum and costs one product more.
    """
    objective = OBJECTIVES[matching.name]
    classes, sources = cells.present.shape
    present = cells.present.T[:, cells.labels]  # (D, N)
    sizes = cells.of_cell.sum(1).view(classes, sources)
    # A dedicated subset weighs as much as its share of the class, so that its gradient is on the pooled one's scale.
    dedication = (cells.present * sizes / sizes.sum(1, keepdim=True).clamp_min(1)).flatten()  # (C·D,)
    pooled = pooled or average(matching, cells)

    def gradient(images: Tensor, probe: Probe, standing: Tensor) -> Stepped:
        features = probe.view(images)
        losses = [
            torch.dot(objective.losses(features, cells.of_class, probe.cells[:, d]), cells.present[:, d].float())
            for d in range(sources)
        ]
        losses.append(torch.dot(objective.losses(features, cells.of_cell, probe.cells.flatten(0, 1)), dedication))
        if pooled.cell_weights:
            weights = pooled.cell_weights(features.detach(), probe, standing).T[:, cells.labels]  # (D, N)
            loss, standing = pooled.loss(features.detach(), probe, standing)
        else:
            loss, standing = pooled.loss(features, probe, standing)
            losses.append(loss)
        gradients = (batched_products if images.is_cuda else single_products)(losses, images)
        by_domain = gradients[:sources]
        together = (
            (weights[:, :, None, None, None] * by_domain).sum(0) if pooled.cell_weights else gradients[sources + 1]
        )
        update, agreement = spectral_update(
            together,
            by_domain,
            gradients[sources],
            present,
            cells.labels,
            num_classes=classes,
            shared=surgery.shared,
            diversity=surgery.diversity,
            power=surgery.power,
            pool=surgery.pool,
            kernels=kernels,
        )
        return Stepped(update, standing, {"loss": loss.detach(), "agreement": agreement})

    return gradient
