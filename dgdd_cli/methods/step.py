"""One step of distribution matching: from a probe and the synthetic images to the gradient that moves them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dgdd_cli.config import Matching, Surgery
from dgdd_cli.matching import OBJECTIVES
from dgdd_cli.methods.cells import Cells
from dgdd_cli.methods.decoding import Seen
from dgdd_cli.methods.domain_wise import DomainWise, averaged_domains
from dgdd_cli.methods.pooling import Pooling
from dgdd_cli.methods.products import Products, batched_products, in_parts, single_products
from dgdd_cli.probes.source import Probe
from dgdd_cli.surgery import spectral_update

StepGradient = Callable[[Tensor, Probe, Tensor], Seen]


def pooled_gradient(pooled: Pooling) -> StepGradient:
    """∂/∂S of a pooled loss: one forward, one backward; figures: the loss."""

    def gradient(images: Tensor, probe: Probe, standing: Tensor) -> Seen:
        features, pull = in_parts(single_products)(probe.view, images)
        loss, standing = pooled(features.requires_grad_(), probe, standing)
        (cotangent,) = torch.autograd.grad(loss, features)
        return Seen(pull(cotangent[None])[0], standing, {"loss": loss.detach()})

    return gradient


def surgical_gradient(
    matching: Matching,
    surgery: Surgery,
    cells: Cells,
    domain_wise: DomainWise | None = None,
    *,
    kernels: str = "auto",
    products: Products | None = None,
) -> StepGradient:
    """The pooled gradient after spectral surgery: one forward, D + 1 vector-Jacobian products.

    The domain-wise gradients also give the pooled one, as a weighted sum; where they do not (see domain_wise.py) it is
    product D + 2. Without `domain_wise` the pooled loss is the average. `products`: batched on CUDA, else single.
    """
    objective = OBJECTIVES[matching.name]
    classes, sources = cells.present.shape
    present = cells.present.T[:, cells.labels]  # (D, N)
    sizes = cells.of_cell.sum(1).view(classes, sources)
    # A dedicated subset weighs as much as its share of the class, so that its gradient is on the pooled one's scale.
    dedication = (cells.present * sizes / sizes.sum(1, keepdim=True).clamp_min(1)).flatten()  # (C·D,)
    of_cell = objective.prepare(cells.of_cell)
    domain_wise = domain_wise or averaged_domains(matching, cells)

    def gradient(images: Tensor, probe: Probe, standing: Tensor) -> Seen:
        chosen = products or (batched_products if images.is_cuda else single_products)
        features, pull = in_parts(chosen)(probe.view, images)
        features.requires_grad_()
        found = domain_wise(features, probe, standing)
        dedicated = torch.dot(objective.losses(features, of_cell, probe.cells.flatten(0, 1)), dedication)
        losses = [*found.each.sum(0).unbind(), dedicated, *([] if found.apart is None else [found.apart])]
        cotangents = [torch.autograd.grad(loss, features, retain_graph=True)[0] for loss in losses]
        by_domain, gradients = pull(torch.stack(cotangents)).split([sources, len(losses) - sources])
        if found.apart is None:
            weights = found.weights.T[:, cells.labels]  # (D, N)
            pooled = (weights[:, :, None, None, None] * by_domain).sum(0)
        else:
            pooled = gradients[1]
        update, agreement = spectral_update(
            pooled,
            by_domain,
            gradients[0],
            present,
            cells.labels,
            num_classes=classes,
            shared=surgery.shared,
            diversity=surgery.diversity,
            power=surgery.power,
            pool=surgery.pool,
            kernels=kernels,
        )
        return Seen(update, found.standing, {"loss": found.pooled, "agreement": agreement})

    return gradient
