"""Gradient matching, DC (Zhao, Mopuri & Bilen 2021, "Dataset Condensation with Gradient Matching", section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dgdd_cli.networks import Backbone

SILENT = 1e-6  # a row shorter than this points nowhere: keeps the cosine of two zero rows at 0


def matched_gradient(network: Backbone, loss: Tensor, *, differentiable: bool = False) -> tuple[Tensor, ...]:
    """∂loss/∂θ of a scalar loss for every weight of the network that has rows, each of the parameter's shape.

    Vectors (biases and the scales of normalisation layers) are left out, as in the published distance. Spends the graph
    of the loss, unless `differentiable`: then the result can be differentiated by what the loss depends on.
    """
    matched = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    return torch.autograd.grad(loss, matched, create_graph=differentiable)


def gradient_distance(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Σ over layers and output nodes of 1 − cos(real row, synthetic row), a scalar (equation 10).

    Both float (O, ...), layer by layer: one row an output node, holding all weights that lead to it.
    """
    distances = [
        (1 - F.cosine_similarity(one.flatten(1), other.flatten(1), dim=1, eps=SILENT)).sum()
        for one, other in zip(real, synthetic, strict=True)
    ]
    return torch.stack(distances).sum()
