"""How an image's power spreads over spatial frequencies: strokes, textures and flat colour apart, whatever is shown."""

from __future__ import annotations

import torch
from torch import Tensor

_FLOOR = 1e-6  # about the power that rounding to bytes adds: (1/255)²/12


def radial_log_power(images: Tensor) -> Tensor:
    """ln of the mean power in every ring of frequencies, channel by channel: (N, 3·R), R = ⌊S/2⌋ + 1.

    P_r = mean of |fft2(x)|² (orthonormal) over the bins at distance r from zero, rounded, those beyond ⌊S/2⌋ in the
    last ring. images float (N, 3, S, S) in [0, 1]; the same dtype is returned. A cyclic shift, a turn by 90° and a
    mirror image change nothing.
    """
    size = images.shape[-1]
    along = torch.fft.fftfreq(size, d=1 / size, device=images.device)
    rings = torch.hypot(along[:, None], along).round().long().clamp(max=size // 2).flatten()  # (S²,)
    power = torch.fft.fft2(images, norm="ortho").abs().square().flatten(2)  # (N, 3, S²)
    sums = power.new_zeros(*power.shape[:2], size // 2 + 1).index_add(2, rings, power)
    return (sums / torch.bincount(rings) + _FLOOR).log().flatten(1)
