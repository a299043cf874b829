"""The per-channel statistics that images are normalised by."""

from __future__ import annotations

import torch

from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.images import Images

_PIXELS = 2**22  # counted at once


def normalisation_of(source: Images) -> Normalisation:
    """The set's published normalisation, else the per-channel statistics of the source images themselves."""
    if source.normalisation is not None:
        return source.normalisation
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for part in source.batches(max(1, _PIXELS // source.image_size**2)):
        channels = part.transpose(0, 1).flatten(1).int()  # (3, n·H·W)
        counts += torch.stack([torch.bincount(channel, minlength=256) for channel in channels])
    levels = counts.double()
    share, level = levels / levels.sum(1, keepdim=True), torch.arange(256, dtype=torch.float64) / 255
    mean = share @ level
    std = (share @ level.square() - mean.square()).clamp_min(1e-8).sqrt()
    r, g, b = (round(v, 6) for v in mean.tolist())
    x, y, z = (round(max(v, 1e-3), 6) for v in std.tolist())
    return Normalisation((r, g, b), (x, y, z), "the source images")
