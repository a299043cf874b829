"""The specification of the core in plain torch: what every kernel has to reproduce, on any device."""

from __future__ import annotations

import torch
from torch import Tensor


def agreement_from_coherence(coherence: Tensor, sources: Tensor) -> Tensor:
    """a = clip((D_n γ − 1)/(D_n − 1), 0, 1); 1 where D_n = 1 (a source agrees with itself), 0 where D_n = 0.

    `coherence` γ and `sources` D_n are float and broadcast; unrelated sources give γ ≈ 1/D_n, so a ≈ 0.
    """
    several = ((sources * coherence - 1) / (sources - 1).clamp(min=1)).clamp(0, 1)
    return torch.where(sources > 1, several, sources)


def spectral_surgery(
    domain_spectra: Tensor,
    diversity_spectrum: Tensor,
    present: Tensor,
    classes: Tensor,
    num_classes: int,
    pool: str,
    power: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """(aᵏ m, (1 − a) d, a) from the domain spectra; see `dgdd_cli.core.spectral_surgery` for shapes and the formula."""
    number = len(classes)
    sources = present.sum(0).to(domain_spectra.dtype)  # (N,)
    total = torch.zeros_like(diversity_spectrum)  # (N, C, H, W, 2)
    energy = torch.zeros_like(diversity_spectrum)
    for spectrum, here in zip(domain_spectra, present, strict=True):
        # not a product: an absent spectrum may hold anything, NaN included
        held = torch.where(here.view(number, 1, 1, 1, 1), spectrum, 0.0)
        total.add_(held)
        energy.addcmul_(held, held)
    per_image = sources.clamp(min=1).reciprocal().view(number, 1, 1, 1, 1)
    mean, energy = total.mul_(per_image), energy.mul_(per_image)
    # (N, C | 1, H, W) or, for "class", (K, 1, H, W)
    coherence = _pooled(mean.square(), classes, num_classes, pool)
    coherence /= _pooled(energy, classes, num_classes, pool) + eps
    if pool == "class":
        coherence = coherence[classes]  # (N, 1, H, W)
    agreement = agreement_from_coherence(coherence, sources.view(number, 1, 1, 1))
    weight = agreement if power == 1 else agreement.pow(power)
    return mean.mul_(weight.unsqueeze(-1)), diversity_spectrum * (1 - agreement).unsqueeze(-1), agreement


def _pooled(squares: Tensor, classes: Tensor, num_classes: int, pool: str) -> Tensor:
    """Sums squared pairs (N, C, H, W, 2) over what `pool` names; the frequency is always kept."""
    if pool != "bin":
        squares = squares.sum(1, keepdim=True)  # (N, 1, H, W, 2)
    if pool == "class":
        squares = squares.new_zeros(num_classes, *squares.shape[1:]).index_add_(0, classes, squares)
    real, imaginary = squares.unbind(-1)
    return real + imaginary


def sorted_segments(losses: Tensor, groups: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """The order by (group, descending loss, index) and where each group begins in it: int64 (n,) and (G + 1,).

    Ties keep the order of their indices. Samples of no group (−1) come first, before offsets[0].
    """
    by_loss = torch.sort(losses, descending=True, stable=True).indices
    sorted_groups, by_group = torch.sort(groups[by_loss], stable=True)
    bounds = torch.arange(num_groups + 1, device=groups.device, dtype=groups.dtype)
    return by_loss[by_group], torch.searchsorted(sorted_groups, bounds)


def grouped_cvar(
    losses: Tensor, groups: Tensor, weights: Tensor | None, num_groups: int, tail: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(values, gradient, masses) of CVaR per group; see `dgdd_cli.core.grouped_cvar`; differentiable in `losses`."""
    # float64 where the device has it: a group's mass is a difference of two running sums over all samples
    exact = torch.float32 if losses.device.type == "mps" else torch.float64
    with torch.no_grad():
        order, offsets = sorted_segments(losses.detach(), groups, num_groups)
        member = groups[order] >= 0
        own = groups[order].clamp(min=0)  # (n,) any valid group for the samples of none; their share is zeroed
        begin = offsets[:-1]
        if weights is None:
            mass = torch.ones_like(losses, dtype=exact)
            masses = (offsets[1:] - begin).to(exact)
            before = (torch.arange(len(order), device=order.device) - begin[own]).to(exact)
        else:
            mass = torch.where(member, weights[order].to(exact), 0.0)
            running = torch.cat([mass.new_zeros(1), mass.cumsum(0)])
            masses = mass.new_zeros(num_groups).index_add_(0, own, mass)
            before = running[:-1] - running[begin][own]
        budget = tail * masses[own]
        share = torch.minimum((budget - before).clamp(min=0), mass) / budget
        share = torch.where(member & (budget > 0), share, 0.0).to(losses.dtype)
        gradient = torch.zeros_like(losses).index_copy_(0, order, share)
    # a share of zero takes nothing from its loss, not even an infinity
    parts = torch.where(gradient > 0, gradient * losses, 0.0)
    values = losses.new_zeros(num_groups).index_add(0, groups.clamp(min=0), parts)
    return values, gradient, masses.to(losses.dtype)


def exponentiated_weights(
    standing: Tensor,
    values: Tensor,
    counts: Tensor,
    blocks: Tensor,
    num_blocks: int,
    rate: float,
    adjustment: float,
) -> Tensor:
    """q_g exp(η(v_g + C/√n_g)) over its sum in the block; see `dgdd_cli.core.exponentiated_weights`."""
    # float64 where the device has it: a loss of 1e30 leaves no digits of log q in float32
    exact = torch.float32 if standing.device.type == "mps" else torch.float64
    with torch.no_grad():
        # a weight that has underflowed to 0 could never rise again
        logs = standing.to(exact).clamp(min=torch.finfo(standing.dtype).tiny).log()
        raise_by = rate * (values.to(exact) + adjustment * counts.to(exact).clamp(min=1).rsqrt())
        most = torch.finfo(exact).max / 4  # an infinite loss takes all there is, and two of them share it
        logs = logs + torch.where(counts > 0, raise_by.clamp(-most, most), 0.0)
        top = logs.new_full((num_blocks,), -torch.inf).scatter_reduce(0, blocks, logs, "amax")
        raised = (logs - top[blocks]).exp()
        totals = logs.new_zeros(num_blocks).index_add(0, blocks, raised)
        return (raised / totals[blocks]).to(standing.dtype)
