"""Maximum mean discrepancy, all moments of the features instead of their means (Gretton et al. 2012, equation 3; for
distillation M3D, Zhang et al. 2024, "Improved Dataset Condensation by Minimizing Maximum Mean Discrepancy")."""

from __future__ import annotations

import torch
from torch import Tensor

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # in units of the mean squared distance between the real samples


def mmd_losses(features: Tensor, members: Tensor, targets: Tensor) -> Tensor:
    """ℓ_m = E k(s, s') − 2 E k(s, x) + E k(x, x'), squared MMD of subset m and its real samples, float (M,).

    features (N, F) of the synthetic images; members (M, N) bool, or their `member_rows` (M, K), which synchronise
    nothing; targets (M, R, F), features of R real images a subset. k is the mean of Gaussian kernels exp(−‖·‖²/(2βσ²))
    over `BANDWIDTHS` β, with σ² the mean squared distance between the subset's real samples, which carries no gradient.
    Expectations include equal pairs (the V-statistic), so that an empty subset gives E k(x, x') and nothing to pull at.
    """
    rows = member_rows(members) if members.dtype == torch.bool else members
    own = features[rows.clamp_min(0)]  # (M, K, F)
    held = (rows >= 0).to(features.dtype)
    share = held / held.sum(1, keepdim=True).clamp_min(1)  # (M, K)
    among = _squares(targets, targets)  # (M, R, R)
    scale = among.mean((1, 2)).clamp_min(torch.finfo(features.dtype).tiny)[:, None, None]
    within = _kernel(_squares(own, own), scale)  # (M, K, K)
    across = _kernel(_squares(own, targets), scale)  # (M, K, R)
    synthetic = torch.einsum("mi,mij,mj->m", share, within, share)
    mixed = torch.einsum("mi,mir->m", share, across) / targets.shape[1]
    return synthetic - 2 * mixed + _kernel(among, scale).mean((1, 2))


def member_rows(members: Tensor) -> Tensor:
    """The rows of each subset in order, int64 (M, K) with K the size of the largest, and −1 past the end of others.

    members (M, N) bool. Reads the largest size from the device.
    """
    sizes = members.sum(1, keepdim=True)
    most = max(1, int(sizes.max()))
    rows = members.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return torch.where(torch.arange(most, device=members.device) < sizes, rows, -1)


def _kernel(squares: Tensor, scale: Tensor) -> Tensor:
    parts = [torch.exp(-squares / (2 * bandwidth * scale)) for bandwidth in BANDWIDTHS]
    return torch.stack(parts).mean(0)


def _squares(one: Tensor, other: Tensor) -> Tensor:
    """‖a − b‖² of all pairs, (..., A, B), from the product form: rounding below zero is cut off."""
    lengths = one.square().sum(-1)[..., :, None] + other.square().sum(-1)[..., None, :]
    return (lengths - 2 * one @ other.transpose(-1, -2)).clamp_min(0)
