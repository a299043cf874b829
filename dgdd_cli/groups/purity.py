"""How far groups agree with labels that are known."""

from __future__ import annotations

import torch
from torch import Tensor


def contingency(groups: Tensor, labels: Tensor) -> Tensor:
    """Members of each group with each label, int64 (G, L), from two int64 vectors (N,) that count from 0."""
    height, width = (int(v.max()) + 1 if len(v) else 0 for v in (groups, labels))
    return torch.bincount(groups * width + labels, minlength=height * width).reshape(height, width)


def purity(groups: Tensor, labels: Tensor) -> float:
    """Share of points that carry their group's most frequent label, in (0, 1] (Manning et al. 2008, section 16.3).

    1 when every group holds one label; the share of the most frequent label when there is one group. At least one
    point is needed.
    """
    return int(contingency(groups, labels).amax(1).sum()) / len(groups)
