"""Gradient matching, DC (Zhao, Mopuri & Bilen 2021, "Dataset Condensation with Gradient Matching", section 3)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

IMAGES_AT_ONCE = 1024
SILENT = 1e-6  # a row shorter than this points nowhere: keeps the cosine of two zero rows at 0


def class_gradients(network: nn.Module, images: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """∂/∂θ of Σ_i w_{c,i} · cross-entropy(network(x_{c,i}), c) for each class c: by parameter name, (C, *shape).

    images float (C, B, 3, H, W), already augmented and normalised; weights float (C, B), 0 for a row that only fills
    up. Vectors (biases and the scales of normalisation layers) are left out, as in the published distance. Where
    gradients are enabled the result is differentiable in `images` and `weights`.
    """
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    buffers = dict(network.named_buffers())
    matched = {name: value for name, value in parameters.items() if value.ndim > 1}

    def loss(matched: Mapping[str, Tensor], images: Tensor, weights: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(network, {**parameters, **buffers, **matched}, (images,))
        return weights @ F.cross_entropy(logits, label.expand(len(images)), reduction="none")

    labels = torch.arange(len(images), device=images.device)
    at_once = max(1, IMAGES_AT_ONCE // images.shape[1])  # memory does not grow with the number of classes
    return vmap(grad(loss), in_dims=(None, 0, 0, 0), chunk_size=at_once)(matched, images, weights, labels)


def gradient_distances(real: Mapping[str, Tensor], synthetic: Mapping[str, Tensor]) -> Tensor:
    """Σ over layers and output nodes of 1 − cos(real row, synthetic row), for each class: float (C,) (equation 10).

    Both by parameter name, (C, O, ...): one row an output node, holding all weights that lead to it.
    """
    distances = [
        (1 - F.cosine_similarity(real[name].flatten(2), rows.flatten(2), dim=2, eps=SILENT)).sum(1)
        for name, rows in synthetic.items()
    ]
    return torch.stack(distances).sum(0)
