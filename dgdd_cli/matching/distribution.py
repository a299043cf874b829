"""Distribution Matching, DM (Zhao & Bilen 2023, "Dataset Condensation with Distribution Matching", equation 4)."""

from __future__ import annotations

from torch import Tensor


def subset_means(features: Tensor, members: Tensor) -> Tensor:
    """Mean feature of each subset, (M, F), from features (N, F) and membership (M, N) bool; empty subsets give 0."""
    share = members.to(features.dtype)
    return (share @ features) / share.sum(1, keepdim=True).clamp_min(1)


def dm_losses(features: Tensor, members: Tensor, targets: Tensor) -> Tensor:
    """ℓ_m = ‖mean_{i in m} f_i − t_m‖² for each subset m, float (M,).

    features (N, F) of the synthetic images; members (M, N) bool, the images that answer for each target; targets
    (M, F), mean features of real images. The caller decides how the M losses are aggregated.
    """
    return (subset_means(features, members) - targets).square().sum(1)
