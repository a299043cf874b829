"""Spectral gradient surgery (after SGS, arXiv 2605.18836; our reading of its abstract, see the README)."""

from __future__ import annotations

import torch
from torch import Tensor

from dgdd_cli.core import spectral_surgery


def spectral_update(
    pooled: Tensor,
    by_domain: Tensor,
    dedicated: Tensor,
    present: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    shared: float,
    diversity: float,
    power: float,
    pool: str,
    kernels: str = "auto",
) -> tuple[Tensor, Tensor]:
    """g = g_pooled + λ_sh · irfft2(aᵏ ⊙ m̂) + λ_div · irfft2((1 − a) ⊙ ĝ_ded), and the mean agreement a (scalar).

    pooled (N, 3, H, W), the gradient of the objective over all domains; by_domain (D, N, 3, H, W), one gradient a
    domain; dedicated (N, 3, H, W), the gradient of the image subsets dedicated to one domain each, which vanishes
    once each subset matches its own domain; present (D, N) bool, False where an image's class has no image in the
    domain; labels (N,) int64. Transforms are orthonormal, over each image and channel.
    """
    size = pooled.shape[-2:]
    spectra = torch.view_as_real(torch.fft.rfft2(by_domain, norm="ortho"))  # (D, N, 3, H, W//2+1, 2)
    apart = torch.view_as_real(torch.fft.rfft2(dedicated, norm="ortho"))  # (N, 3, H, W//2+1, 2)
    cut = spectral_surgery(
        spectra, apart, present, labels, num_classes=num_classes, pool=pool, power=power, kernels=kernels
    )
    together = torch.view_as_complex(shared * cut.shared + diversity * cut.diversity)
    return pooled + torch.fft.irfft2(together, s=size, norm="ortho"), cut.agreement.mean()
