"""One step of distribution matching: from a probe and the synthetic images to the gradient that moves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.config import Matching, Surgery
from dgdd_cli.engine.cells import Cells
from dgdd_cli.engine.domain_wise import DomainWise, averaged_domains
from dgdd_cli.engine.pooling import Pooling
from dgdd_cli.engine.probes import Probe
from dgdd_cli.matching import OBJECTIVES
from dgdd_cli.surgery import spectral_update


@dataclass(frozen=True, slots=True, eq=False)
class Stepped:
    """What a step finds: the gradient (N, 3, H, W), the standing weights of the groups (G,), and figures to report."""

    update: Tensor
    standing: Tensor
    figures: dict[str, Tensor]


StepGradient = Callable[[Tensor, Probe, Tensor], Stepped]


def pooled_gradient(pooled: Pooling) -> StepGradient:
    """∂/∂S of a pooled loss: one forward, one backward; figures: the loss."""

    def gradient(images: Tensor, probe: Probe, standing: Tensor) -> Stepped:
        loss, standing = pooled(probe.view(images), probe, standing)
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
    matching: Matching, surgery: Surgery, cells: Cells, domain_wise: DomainWise | None = None, *, kernels: str = "auto"
) -> StepGradient:
    """The pooled gradient after spectral surgery: one forward, D + 1 vector-Jacobian products.

    The domain-wise gradients also give the pooled one, as a weighted sum (see domain_wise.py); without `domain_wise`
    that of the average.
    """
    objective = OBJECTIVES[matching.name]
    classes, sources = cells.present.shape
    present = cells.present.T[:, cells.labels]  # (D, N)
    sizes = cells.of_cell.sum(1).view(classes, sources)
    # A dedicated subset weighs as much as its share of the class, so that its gradient is on the pooled one's scale.
    dedication = (cells.present * sizes / sizes.sum(1, keepdim=True).clamp_min(1)).flatten()  # (C·D,)
    domain_wise = domain_wise or averaged_domains(matching, cells)

    def gradient(images: Tensor, probe: Probe, standing: Tensor) -> Stepped:
        features = probe.view(images)
        found = domain_wise(features, probe, standing)
        dedicated = torch.dot(objective.losses(features, cells.of_cell, probe.cells.flatten(0, 1)), dedication)
        losses = [*found.each.sum(0).unbind(), dedicated]
        gradients = (batched_products if images.is_cuda else single_products)(losses, images)
        by_domain, weights = gradients[:sources], found.weights.T[:, cells.labels]  # weights (D, N)
        update, agreement = spectral_update(
            (weights[:, :, None, None, None] * by_domain).sum(0),
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
        return Stepped(update, found.standing, {"loss": found.pooled, "agreement": agreement})

    return gradient
