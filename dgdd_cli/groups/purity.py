"""How far groups agree with labels that are known."""

from __future__ import annotations

from torch import Tensor


def purity(groups: Tensor, labels: Tensor) -> float:
    """Share of points that carry their group's most frequent label, in (0, 1] (Manning et al. 2008, section 16.3).

    1 when every group holds one label; the share of the most frequent label when there is one group. At least one
    point is needed.
    """
    from sklearn.metrics.cluster import contingency_matrix  # takes a second to import

    return int(contingency_matrix(groups.numpy(), labels.numpy()).max(1).sum()) / len(groups)
