"""Draws of a Beta distribution from a generator of torch, which has none of its own."""

from __future__ import annotations

import torch
from torch import Tensor


def beta_draws(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """`count` draws of Beta(α, α), float32 (count,), for 0 < α <= 1 (Jöhnk 1964).

    u, v uniform; accept where u^(1/α) + v^(1/α) <= 1; the draw is u^(1/α) / (u^(1/α) + v^(1/α)). In logarithms, since
    u^(1/α) underflows for a small α. At least half of the pairs are accepted.
    """
    found = torch.empty(0, dtype=torch.float64)
    while len(found) < count:
        uniforms = 1 - torch.rand(2, 2 * count, dtype=torch.float64, generator=generator)  # in (0, 1]
        x, y = uniforms.log() / alpha
        accepted = torch.logaddexp(x, y) <= 0
        found = torch.cat([found, (x - y)[accepted].sigmoid()])
    return found[:count].float()
