"""Grouped CVaR as a Triton kernel: after one sort by (group, −loss), one program a group walks down its tail."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dgdd_cli.core.reference import sorted_segments

BLOCK = 1024
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}  # multiply, then add, as the reference does


@triton.jit
def tail_kernel(
    losses: tl.tensor,
    weights: tl.tensor,
    order: tl.tensor,
    offsets: tl.tensor,
    tail: tl.tensor,
    values: tl.tensor,
    gradient: tl.tensor,
    masses: tl.tensor,
    WEIGHTED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Shares, value and mass of one group; masses in float64. `gradient` arrives filled with zeros.

    Without weights only the ⌈αm⌉ largest losses are read; with weights all are, once more for their sum.
    """
    group = tl.program_id(0)
    first = tl.load(offsets + group)
    last = tl.load(offsets + group + 1)
    share_of_tail = tl.load(tail)
    mass = (last - first).to(tl.float64)
    if WEIGHTED:
        mass = mass * 0.0
        for begin in range(first, last, BLOCK):
            rank = begin + tl.arange(0, BLOCK)
            sample = tl.load(order + rank, mask=rank < last, other=0)
            mass += tl.sum(tl.load(weights + sample, mask=rank < last, other=0.0).to(tl.float64), 0)
        stop = last
    else:
        stop = tl.minimum(last, first + tl.ceil(share_of_tail * mass).to(tl.int64))

    budget = share_of_tail * mass
    divisor = tl.where(budget > 0.0, budget, 1.0)
    value = budget * 0.0
    spent = budget * 0.0
    for begin in range(first, stop, BLOCK):
        rank = begin + tl.arange(0, BLOCK)
        inside = rank < last
        sample = tl.load(order + rank, mask=inside, other=0)
        if WEIGHTED:
            held = tl.load(weights + sample, mask=inside, other=0.0).to(tl.float64)
            before = spent + tl.cumsum(held, 0) - held
            spent += tl.sum(held, 0)
        else:
            held = inside.to(tl.float64)
            before = (rank - first).to(tl.float64)
        share = (tl.minimum(tl.maximum(budget - before, 0.0), held) / divisor).to(tl.float32)
        loss = tl.load(losses + sample, mask=inside, other=0.0)
        # a share of zero takes nothing from its loss, not even an infinity
        value += tl.sum(tl.where(share > 0.0, share * loss, 0.0).to(tl.float64), 0)
        tl.store(gradient + sample, share, mask=inside)
    tl.store(values + group, value.to(tl.float32))
    tl.store(masses + group, mass.to(tl.float32))


def launch(
    losses: Tensor, groups: Tensor, weights: Tensor | None, num_groups: int, tail: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the kernel; arguments and results as in `reference.grouped_cvar`, float32 only."""
    losses = losses.detach().contiguous()
    order, offsets = sorted_segments(losses, groups, num_groups)
    values, masses = losses.new_empty(num_groups), losses.new_empty(num_groups)
    gradient = torch.zeros_like(losses)
    # a float argument would reach the kernel as float32, and α·m would miss whole numbers
    exact_tail = torch.full((1,), tail, dtype=torch.float64, device=losses.device)
    masses_of = losses if weights is None else weights.contiguous()
    with torch.cuda.device_of(losses):
        tail_kernel[(num_groups,)](
            losses,
            masses_of,
            order,
            offsets,
            exact_tail,
            values,
            gradient,
            masses,
            weights is not None,
            BLOCK,
            **OPTIONS,
        )
    return values, gradient, masses
