"""Which synthetic images answer for which class and domain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
    cells = torch.where(domains < 0, -1, labels * sources + domains)  # mixed images are nobody's
    of_cell = torch.arange(classes * sources, device=labels.device)[:, None] == cells
    return Cells(labels, of_class, of_cell, weights.to(torch.float32), present)
