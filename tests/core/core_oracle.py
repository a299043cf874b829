"""Spectral surgery and CVaR a second time, in float64 NumPy and plain loops, straight from their definitions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Spectrum = NDArray[np.complex128]


def spectral_surgery(
    spectra: Spectrum,
    diversity: Spectrum,
    present: NDArray[np.bool_],
    classes: NDArray[np.int64],
    pool: str,
    power: float,
) -> tuple[Spectrum, Spectrum, Array]:
    """Complex (D, N, C, H, W) and (N, C, H, W) in; shared, diversity and agreement (N, C, H, W) out."""
    number, channels, height, width = diversity.shape
    shared, rest = np.zeros_like(diversity), np.zeros_like(diversity)
    agreement: Array = np.zeros(diversity.shape)

    def mean_and_power(n: int, c: int, u: int, v: int) -> tuple[complex, float]:
        values = [spectra[d, n, c, u, v] for d in range(len(spectra)) if present[d, n]]
        if not values:
            return 0.0, 0.0
        return sum(values) / len(values), sum(abs(value) ** 2 for value in values) / len(values)

    for n in range(number):
        for c in range(channels):
            pooled = {
                "bin": [(n, c)],
                "image": [(n, other) for other in range(channels)],
                "class": [(m, other) for m in range(number) if classes[m] == classes[n] for other in range(channels)],
            }[pool]
            for u in range(height):
                for v in range(width):
                    both = [mean_and_power(m, other, u, v) for m, other in pooled]
                    coherent = sum(abs(mean) ** 2 for mean, _ in both)
                    total = sum(energy for _, energy in both)
                    sources = int(present[:, n].sum())
                    if sources <= 1:
                        a = float(sources)
                    else:
                        coherence = coherent / total if total > 0 else 0.0
                        a = min(max((sources * coherence - 1) / (sources - 1), 0.0), 1.0)
                    agreement[n, c, u, v] = a
                    shared[n, c, u, v] = a**power * mean_and_power(n, c, u, v)[0]
                    rest[n, c, u, v] = (1 - a) * diversity[n, c, u, v]
    return shared, rest, agreement


def tail_shares(losses: Array, weights: Array, tail: float) -> Array:
    """p of one group, filled from the largest loss down; equal losses in the order of their indices."""
    shares = np.zeros(len(losses))
    total = weights.sum()
    if total == 0:
        return shares
    left = 1.0
    for i in sorted(range(len(losses)), key=lambda i: (-losses[i], i)):
        shares[i] = min(weights[i] / total / tail, left)
        left -= shares[i]
    return shares


def cvar_dual(losses: Array, weights: Array, tail: float) -> float:
    """min over η of η + E[(ℓ − η)₊]/α; the minimum of this piecewise linear function lies on a loss."""
    probabilities = weights / weights.sum()
    return min(eta + float((probabilities * np.maximum(losses - eta, 0)).sum()) / tail for eta in losses)
