"""Spatial attention at every depth (DataDAM, Sajedi et al. 2023, equation 2): what a user writes to match by it."""

import torch
from torch import Tensor

from dgdd_cli.networks import Backbone

POWER = 4


def attention(backbone: Backbone, images: Tensor) -> Tensor:
    """Σ_c |map_c|^p of each depth, flattened and of unit length, side by side: (N, Σ h·w)."""
    maps = backbone.maps(images, backbone.depths)
    seen = [depth.abs().pow(POWER).sum(1).flatten(1) for depth in maps]
    return torch.cat([each / each.norm(dim=1, keepdim=True).clamp_min(1e-12) for each in seen], 1)
