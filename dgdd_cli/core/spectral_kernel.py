"""Spectral surgery as Triton kernels; real pairs stay interleaved, so every load and store is contiguous.

Bytes that have to move, with S the bytes of one spectrum (N·C·H·W·8) and A those of the agreement:
pool "bin" and "image": (D + 1)·S read, 2·S + A written, in one pass;
pool "class": the same and 2·S more, because a class's mean spectrum is parked in `shared` until its agreement is known.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# Up to here the channels of an image fit the registers of one program; above, an image is pooled like a class.
MAX_ROWS = 32
TILE = 2048  # floats a program of pooled_surgery_kernel holds of one spectrum
SEGMENT_ROWS, SEGMENT_LANES = 16, 64
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}  # multiply, then add, as the reference does


@triton.jit
def agreement(coherent: tl.tensor, energy: tl.tensor, sources: tl.tensor, eps: tl.tensor) -> tl.tensor:
    """a = clip((D_n γ − 1)/(D_n − 1), 0, 1), with γ = coherent/(energy + eps); D_n itself where it is 0 or 1."""
    several = (sources * (coherent / (energy + eps)) - 1.0) / tl.maximum(sources - 1.0, 1.0)
    several = tl.clamp(several, 0.0, 1.0, propagate_nan=tl.PropagateNan.ALL)
    return tl.where(sources > 1.0, several, sources)


@triton.jit
def raised(base: tl.tensor, power: tl.tensor, POWER_IS_ONE: tl.constexpr) -> tl.tensor:
    """base^power for base in [0, 1]; 0^0 = 1."""
    if POWER_IS_ONE:
        return base
    zero = base == 0.0
    some = tl.exp2(power * tl.log2(tl.where(zero, 1.0, base)))
    return tl.where(zero, tl.where(power == 0.0, 1.0, 0.0), some)


@triton.jit
def mean_and_energy(
    spectra: tl.tensor,
    present: tl.tensor,
    images: tl.tensor,
    at: tl.tensor,
    inside: tl.tensor,
    number: tl.tensor,
    stride: tl.tensor,
    DOMAINS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """(1/D_n) Σ ĝ_d and (1/D_n) Σ ĝ_d² of a tile (rows, lanes), real and imaginary apart; D_n, shaped as `images`."""
    total = tl.zeros(at.shape, tl.float32)
    energy = tl.zeros(at.shape, tl.float32)
    sources = tl.zeros(images.shape, tl.float32)
    for domain in tl.static_range(DOMAINS):
        here = tl.load(present + domain * tl.cast(number, tl.int64) + images) != 0
        held = tl.load(spectra + domain * tl.cast(stride, tl.int64) + at, mask=inside, other=0.0)
        # not a product: an absent spectrum may hold anything, NaN included
        held = tl.where(here[:, None], held, 0.0)
        total += held
        energy += held * held
        sources += here.to(tl.float32)
    per_image = (1.0 / tl.maximum(sources, 1.0))[:, None]
    return total * per_image, energy * per_image, sources


@triton.jit
def pair_sums(squares: tl.tensor, LANES: tl.constexpr) -> tl.tensor:
    """Sums a tile (rows, lanes) over its rows and over real and imaginary: (lanes / 2,)."""
    return tl.sum(tl.reshape(tl.sum(squares, 0), (LANES // 2, 2)), 1)


@triton.jit
def paired(values: tl.tensor, LANES: tl.constexpr) -> tl.tensor:
    """Repeats each value for real and imaginary: (lanes / 2,) -> (lanes,)."""
    return tl.reshape(tl.join(values, values), (LANES,))


@triton.jit
def pooled_surgery_kernel(
    spectra: tl.tensor,
    diversity: tl.tensor,
    present: tl.tensor,
    shared_out: tl.tensor,
    diversity_out: tl.tensor,
    agreement_out: tl.tensor,
    number: tl.tensor,
    channels: tl.tensor,
    lanes: tl.tensor,
    stride: tl.tensor,
    power: tl.tensor,
    eps: tl.tensor,
    POWER_IS_ONE: tl.constexpr,
    DOMAINS: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
) -> None:
    """One program: all channels of one image, LANES / 2 frequencies; each spectrum is read once."""
    image = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * LANES + tl.arange(0, LANES)
    channel = tl.arange(0, ROWS)
    inside = (channel < channels)[:, None] & (lane < lanes)[None, :]
    at = (image * channels + channel[:, None]) * lanes + lane[None, :]  # (ROWS, LANES) int64
    images = image + tl.zeros((1,), tl.int64)

    mean, energy, sources = mean_and_energy(spectra, present, images, at, inside, number, stride, DOMAINS)
    agreed = agreement(pair_sums(mean * mean, LANES), pair_sums(energy, LANES), tl.max(sources, 0), eps)
    weight = paired(raised(agreed, power, POWER_IS_ONE), LANES)
    rest = paired(1.0 - agreed, LANES)

    tl.store(shared_out + at, mean * weight[None, :], mask=inside)
    tl.store(diversity_out + at, tl.load(diversity + at, mask=inside) * rest[None, :], mask=inside)
    bins = lanes // 2
    bin_ = tl.program_id(1) * (LANES // 2) + tl.arange(0, LANES // 2)
    tl.store(agreement_out + image * bins + bin_, agreed, mask=bin_ < bins)


@triton.jit
def segmented_surgery_kernel(
    spectra: tl.tensor,
    diversity: tl.tensor,
    present: tl.tensor,
    order: tl.tensor,
    offsets: tl.tensor,
    shared_out: tl.tensor,
    diversity_out: tl.tensor,
    agreement_out: tl.tensor,
    number: tl.tensor,
    channels: tl.tensor,
    lanes: tl.tensor,
    stride: tl.tensor,
    power: tl.tensor,
    eps: tl.tensor,
    POWER_IS_ONE: tl.constexpr,
    DOMAINS: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
) -> None:
    """One program: all images of one class (order[offsets[c]:offsets[c + 1]]), LANES / 2 frequencies."""
    first = tl.load(offsets + tl.program_id(0)) * channels
    last = tl.load(offsets + tl.program_id(0) + 1) * channels
    lane = tl.program_id(1) * LANES + tl.arange(0, LANES)

    coherent = tl.zeros((ROWS, LANES), tl.float32)
    total = tl.zeros((ROWS, LANES), tl.float32)
    for begin in range(first, last, ROWS):
        row = begin + tl.arange(0, ROWS)  # an image's channel, counted through the class
        images = tl.load(order + row // channels, mask=row < last, other=0)
        inside = (row < last)[:, None] & (lane < lanes)[None, :]
        at = (images * channels + row % channels)[:, None] * lanes + lane[None, :]
        mean, energy, _ = mean_and_energy(spectra, present, images, at, inside, number, stride, DOMAINS)
        tl.store(shared_out + at, mean, mask=inside)
        coherent += mean * mean
        total += energy
    pooled = paired(pair_sums(coherent, LANES), LANES)[None, :]
    pooled_total = paired(pair_sums(total, LANES), LANES)[None, :]

    # what this program stored in shared_out is now loaded again, maybe by another of its threads
    tl.debug_barrier()
    for begin in range(first, last, ROWS):
        row = begin + tl.arange(0, ROWS)
        images = tl.load(order + row // channels, mask=row < last, other=0)
        inside = (row < last)[:, None] & (lane < lanes)[None, :]
        at = (images * channels + row % channels)[:, None] * lanes + lane[None, :]
        sources = tl.zeros((ROWS,), tl.float32)
        for domain in tl.static_range(DOMAINS):
            sources += (tl.load(present + domain * tl.cast(number, tl.int64) + images) != 0).to(tl.float32)
        agreed = agreement(pooled, pooled_total, sources[:, None], eps)
        mean = tl.load(shared_out + at, mask=inside)
        tl.store(shared_out + at, mean * raised(agreed, power, POWER_IS_ONE), mask=inside)
        tl.store(diversity_out + at, tl.load(diversity + at, mask=inside) * (1.0 - agreed), mask=inside)
        bin_at = images[:, None] * (lanes // 2) + (lane // 2)[None, :]
        once = (row % channels == 0)[:, None] & (lane % 2 == 0)[None, :]
        tl.store(agreement_out + bin_at, agreed, mask=inside & once)


def launch(
    domain_spectra: Tensor,
    diversity_spectrum: Tensor,
    present: Tensor,
    classes: Tensor,
    num_classes: int,
    pool: str,
    power: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the kernel of `pool`; arguments and results as in `reference.spectral_surgery`, float32 only."""
    spectra, diversity = domain_spectra.contiguous(), diversity_spectrum.contiguous()
    here = present.contiguous().view(torch.uint8)
    number, channels, height, width, _ = diversity.shape
    bins = height * width
    shared, rest = torch.empty_like(diversity), torch.empty_like(diversity)
    agreed = diversity.new_empty(number, channels if pool == "bin" else 1, height, width)
    if number == 0:
        return shared, rest, agreed
    if pool == "bin":  # nothing is pooled: one long row an image
        channels, bins = 1, channels * bins
    sizes = (number, channels, 2 * bins, diversity.numel(), power, eps, power == 1, len(spectra))
    outputs = (shared, rest, agreed)
    with torch.cuda.device_of(spectra):
        if pool == "class" or channels > MAX_ROWS:
            order, offsets = _segments(classes, num_classes if pool == "class" else None)
            grid = (len(offsets) - 1, triton.cdiv(2 * bins, SEGMENT_LANES))
            segmented_surgery_kernel[grid](
                spectra, diversity, here, order, offsets, *outputs, *sizes, SEGMENT_ROWS, SEGMENT_LANES, **OPTIONS
            )
        else:
            rows = triton.next_power_of_2(channels)
            lanes = min(TILE // rows, triton.next_power_of_2(2 * bins))
            grid = (number, triton.cdiv(2 * bins, lanes))
            pooled_surgery_kernel[grid](spectra, diversity, here, *outputs, *sizes, rows, lanes, **OPTIONS)
    return outputs


def _segments(classes: Tensor, num_classes: int | None) -> tuple[Tensor, Tensor]:
    """The images ordered by class and where each class begins; None: every image by itself."""
    if num_classes is None:
        every = torch.arange(len(classes) + 1, device=classes.device)
        return every[:-1], every
    ordered, order = torch.sort(classes, stable=True)
    # an id out of range falls to the nearest class: every image is written, nothing else is
    bounds = torch.arange(1, num_classes, device=classes.device)
    inner = torch.searchsorted(ordered, bounds)
    return order, torch.nn.functional.pad(torch.nn.functional.pad(inner, (1, 0)), (0, 1), value=len(classes))
