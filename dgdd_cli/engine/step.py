"""One distillation step: from a probe and the synthetic images to the gradient that moves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.config import Matching, Surgery
from dgdd_cli.engine.probes import Probe
from dgdd_cli.matching import OBJECTIVES
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


StepGradient = Callable[[Tensor, Probe], tuple[Tensor, dict[str, Tensor]]]


def pooled_gradient(matching: Matching, cells: Cells) -> StepGradient:
    """∂/∂S of Σ_c ℓ(mean f(S_c), Σ_d w_{c,d} μ_{c,d}): one forward, one backward; figures: the loss."""
    objective = OBJECTIVES[matching.name]

    def gradient(images: Tensor, probe: Probe) -> tuple[Tensor, dict[str, Tensor]]:
        targets = (cells.weights[:, :, None] * probe.cell_means).sum(1)  # (C, F)
        loss = objective(probe.view(images), cells.of_class, targets).sum()
        return torch.autograd.grad(loss, images)[0], {"loss": loss.detach()}

    return gradient


def surgical_gradient(matching: Matching, surgery: Surgery, cells: Cells, *, kernels: str = "auto") -> StepGradient:
    """The pooled gradient after spectral surgery: one forward, D + 1 vector-Jacobian products.

    The domain-wise gradients g_d = ∂L_d/∂S also give the pooled one, Σ_d w_d g_d, because the gradient of a squared
    distance is linear in its target; an objective without that property is differentiated D times just the same and
    pooled as the weighted sum of its domain-wise losses.
    """
    objective = OBJECTIVES[matching.name]
    classes, sources = cells.present.shape
    per_image = cells.weights.T[:, cells.labels]  # (D, N)
    present = cells.present.T[:, cells.labels]  # (D, N)
    sizes = cells.of_cell.sum(1).view(classes, sources)
    # A dedicated subset weighs as much as its share of the class, so that its gradient is on the pooled one's scale.
    dedication = (cells.present * sizes / sizes.sum(1, keepdim=True).clamp_min(1)).flatten()  # (C·D,)

    def gradient(images: Tensor, probe: Probe) -> tuple[Tensor, dict[str, Tensor]]:
        features = probe.view(images)
        losses = torch.stack(
            [
                torch.dot(objective(features, cells.of_class, probe.cell_means[:, d]), cells.present[:, d].float())
                for d in range(sources)
            ]
        )
        apart = torch.dot(objective(features, cells.of_cell, probe.cell_means.flatten(0, 1)), dedication)
        by_domain = torch.stack([torch.autograd.grad(loss, images, retain_graph=True)[0] for loss in losses])
        dedicated = torch.autograd.grad(apart, images)[0]
        pooled = (per_image[:, :, None, None, None] * by_domain).sum(0)
        update, agreement = spectral_update(
            pooled,
            by_domain,
            dedicated,
            present,
            cells.labels,
            num_classes=classes,
            shared=surgery.shared,
            diversity=surgery.diversity,
            power=surgery.power,
            pool=surgery.pool,
            kernels=kernels,
        )
        targets = (cells.weights[:, :, None] * probe.cell_means).sum(1)
        loss = objective(features.detach(), cells.of_class, targets).sum()
        return update, {"loss": loss, "agreement": agreement}

    return gradient
