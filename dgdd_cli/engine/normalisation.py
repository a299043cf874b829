"""The per-channel statistics that images are normalised by."""

from __future__ import annotations

import torch

from dgdd_cli.data.dataset import DomainDataset, Normalisation


def normalisation_of(source: DomainDataset) -> Normalisation:
    """The set's published normalisation, else the per-channel statistics of the source images themselves."""
    if source.normalisation is not None:
        return source.normalisation
    pixels = source.images.permute(1, 0, 2, 3).flatten(1)  # (3, N·H·W)
    levels = torch.stack([torch.bincount(channel.int(), minlength=256) for channel in pixels]).double()  # (3, 256)
    share, level = levels / levels.sum(1, keepdim=True), torch.arange(256, dtype=torch.float64) / 255
    mean = share @ level
    std = (share @ level.square() - mean.square()).clamp_min(1e-8).sqrt()
    r, g, b = (round(v, 6) for v in mean.tolist())
    x, y, z = (round(max(v, 1e-3), 6) for v in std.tolist())
    return Normalisation((r, g, b), (x, y, z), "the source images")
