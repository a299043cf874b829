"""The public functions of the core: they validate, choose an implementation and call it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dgdd_cli.core import reference
from dgdd_cli.core.status import choose
from dgdd_cli.core.validation import (
    check_blocks,
    check_losses,
    check_number,
    check_of_groups,
    check_spectra,
    check_standing,
)
from dgdd_cli.errors import UnknownName, UsageError

POOLS = ("bin", "image", "class")


class Surgery(NamedTuple):
    """What spectral surgery makes of the domain spectra."""

    shared: Tensor  # (N, C, H, W, 2) float32: aᵏ m
    diversity: Tensor  # (N, C, H, W, 2) float32: (1 − a) d
    agreement: Tensor  # (N, C, H, W) float32 in [0, 1] for pool "bin", (N, 1, H, W) for "image" and "class"


class GroupedRisk(NamedTuple):
    """CVaR of every group and the weight of every sample in it."""

    values: Tensor  # (G,), differentiable in the losses; 0 for a group without mass
    gradient: (
        Tensor  # (n,) p_i: values[g] = Σ_{i in g} p_i ℓ_i; sums to 1 over a group that has mass; carries no gradient
    )
    masses: Tensor  # (G,) how many samples a group has, or the sum of their weights; carries no gradient


def spectral_surgery(
    domain_spectra: Tensor,
    diversity_spectrum: Tensor,
    present: Tensor,
    classes: Tensor,
    *,
    num_classes: int,
    pool: str,
    power: float = 1.0,
    eps: float = 1e-36,
    kernels: str = "auto",
) -> Surgery:
    """Splits the gradients of the domains into what they share and where they may differ, frequency by frequency.

    With D_n the number of domains present for image n, and sums over those alone:
    m = (1/D_n) Σ ĝ_d;  γ = pool(|m|²) / (pool((1/D_n) Σ |ĝ_d|²) + eps);
    a = clip((D_n γ − 1)/(D_n − 1), 0, 1), 1 where D_n = 1, 0 where D_n = 0 or where several spectra have no power;
    shared = aᵏ m, diversity = (1 − a) d. Scaling all spectra by one factor scales both results by it and leaves `a`
    as it is, as long as the pooled power stays well above `eps` and the range of float32.

    Args:
        domain_spectra: float32 (D, N, C, H, W, 2), the real pairs of rfft2 of each domain's gradient.
        diversity_spectrum: float32 (N, C, H, W, 2), d, the spectrum of the dedicated-subset gradient.
        present: bool (D, N); False where the image's class has no image in the domain. Such a spectrum is ignored,
            whatever it holds. Images of one class share a column.
        classes: int64 (N,) in [0, num_classes). Checked on the CPU only, where it costs no synchronisation; on CUDA
            an id out of range is pooled with the nearest valid class or stops the device.
        num_classes: the number of classes, at least 1.
        pool: what the powers are summed over, the frequency always kept: "bin" nothing, "image" the channels of an
            image, "class" the channels and images of a class.
        power: κ >= 0, the exponent of the agreement in `shared`.
        eps: added to the pooled power, so that silence counts as no agreement; absolute, a normal float32 number.
        kernels: "auto", "triton" or "torch".

    Returns:
        `Surgery`, which carries no gradient: the spectra are gradients already.

    Raises:
        ValueError: a tensor has a wrong shape, dtype or device, or a number is out of range.
        UsageError: `pool` or `kernels` is unknown, or Triton was asked for where it cannot run.

    Source: the agreement-weighted reading of style-gradient surgery in design section 4, after arXiv 2605.18836.
    """
    if pool not in POOLS:
        raise UnknownName("pool", pool, POOLS)
    check_spectra(domain_spectra, diversity_spectrum, present, classes, num_classes)
    check_number("power", power, minimum=0.0)
    check_number("eps", eps, minimum=torch.finfo(torch.float32).tiny)
    implementation = choose(kernels, domain_spectra.device, domain_spectra.dtype)
    spectra, diversity = domain_spectra.detach(), diversity_spectrum.detach()
    if implementation == "triton":
        from dgdd_cli.core.ops import spectral_surgery as fused

        return Surgery(*fused(spectra, diversity, present, classes, num_classes, pool, power, eps))
    return Surgery(*reference.spectral_surgery(spectra, diversity, present, classes, num_classes, pool, power, eps))


def grouped_cvar(
    losses: Tensor,
    groups: Tensor,
    *,
    num_groups: int,
    tail: float,
    weights: Tensor | None = None,
    kernels: str = "auto",
) -> GroupedRisk:
    """The conditional value at risk of each group: the mean of the worst `tail` share α of its losses.

    CVaR_α = Σ p_i ℓ_i = min_η η + E[(ℓ − η)₊]/α. From the largest loss down, each sample takes p_i = q_i/α of its
    share q_i of the group (1/m, or its weight over the group's weight) until Σ p_i = 1; the last one takes the rest.
    α = 1 is the mean, α below every q_i the maximum. Equal losses are taken in the order of their indices. The
    gradient flows through the losses, not through p: ∂values[g]/∂ℓ_i = p_i.

    Args:
        losses: float32 or float64 (n,). A NaN counts as the largest loss and makes its group's value NaN.
        groups: int64 (n,) in [0, num_groups), or −1: in none. Checked on the CPU only.
        num_groups: G >= 1. A group without samples, or whose weights are all zero, has value and mass 0.
        tail: α in (0, 1].
        weights: non-negative (n,), of the dtype of `losses`; None: all equal.
        kernels: "auto", "triton" (float32 only) or "torch".

    Raises:
        ValueError: a tensor has a wrong shape, dtype or device, an id is out of range or a weight is negative.
        UsageError: `tail` is outside (0, 1], `kernels` is unknown, or Triton was asked for where it cannot run.

    Source: Rockafellar & Uryasev 2000, eq. 2; for distillation arXiv 2402.04676 (the paper, not its code).
    """
    check_losses(losses, groups, num_groups, weights)
    if not (isinstance(tail, (int, float)) and 0.0 < tail <= 1.0):
        raise UsageError(f"the CVaR tail must be in (0, 1], not {tail!r}", hint="--cvar-tail 0.2")
    if choose(kernels, losses.device, losses.dtype) == "triton":
        from dgdd_cli.core.ops import grouped_cvar as fused

        values, gradient, masses = fused(losses, groups, weights, num_groups, float(tail))
    else:
        values, gradient, masses = reference.grouped_cvar(losses, groups, weights, num_groups, float(tail))
    return GroupedRisk(values, gradient.detach(), masses.detach())


def cvar(losses: Tensor, tail: float, weights: Tensor | None = None, *, kernels: str = "auto") -> Tensor:
    """The conditional value at risk of all `losses` (n,), a scalar: `grouped_cvar` with one group.

    Raises:
        ValueError: there are no losses; and whatever `grouped_cvar` raises.
    """
    if losses.ndim == 1 and len(losses) == 0:
        raise ValueError("CVaR of no losses is undefined")
    groups = torch.zeros(losses.shape, dtype=torch.int64, device=losses.device)
    return grouped_cvar(losses, groups, num_groups=1, tail=tail, weights=weights, kernels=kernels).values[0]


def exponentiated_weights(
    standing: Tensor,
    values: Tensor,
    counts: Tensor,
    *,
    rate: float,
    adjustment: float = 0.0,
    blocks: Tensor | None = None,
    num_blocks: int = 1,
) -> Tensor:
    """The weights of group-DRO after one round: q_g ← q_g exp(η(v_g + C/√n_g)), over their sum in each block.

    Computed in logarithms: no finite loss overflows, and a weight that underflowed rises again. A group without
    images keeps its weight up to the common factor. Plain torch on every device, without synchronisation.

    Args:
        standing: q, float32 or float64 (G,), not negative; at the start equal within each block. Zero counts as the
            smallest normal number.
        values: v, float (G,), the losses of the groups; an infinite one takes all the weight of its block, a NaN
            makes the weights of its block NaN.
        counts: n, int64 or float (G,); 0: the group has no images in this round.
        rate: η >= 0.
        adjustment: C >= 0, which raises the loss of small groups.
        blocks: int64 (G,) in [0, num_blocks), sets of groups that are weighted apart; None: all are in one.
        num_blocks: B >= 1.

    Returns:
        The new weights (G,) of the dtype of `standing`; they sum to 1 over each block and carry no gradient.

    Raises:
        ValueError: a tensor has a wrong shape, dtype or device, or a number is out of range.

    Source: Sagawa et al. 2020 (arXiv 1911.08731), algorithm 1 and section 3.3.
    """
    check_standing(standing)
    check_of_groups("values", values, standing)
    check_of_groups("counts", counts, standing, whole=True)
    check_number("rate", rate, minimum=0.0)
    check_number("adjustment", adjustment, minimum=0.0)
    if blocks is None:
        blocks = torch.zeros(standing.shape, dtype=torch.int64, device=standing.device)
    check_blocks(blocks, num_blocks, standing)
    return reference.exponentiated_weights(standing, values, counts, blocks, num_blocks, rate, adjustment)
