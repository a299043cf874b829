"""A layer in slices of the batch: the maps that only live while it works are those of one slice, not of all images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

SLICE = 2**27  # bytes of one map, 256 images of 32 px with 128 channels; about five maps live at a time
KEPT = 2**30  # bytes of maps kept for a backward pass; a block with more makes them anew when it is reached


def in_slices(block: Callable[[Tensor], Tensor], inputs: Tensor, *, widest: int, kept: int) -> Tensor:
    """`block(inputs)` for a block that sees each image by itself: the same up to rounding, and the same wherever the
    sizes are, since nothing but sizes decides.

    inputs (N, ...); an image makes a largest map of `widest` bytes and keeps `kept` bytes for the backward pass.
    """
    anew = torch.is_grad_enabled() and len(inputs) * kept > KEPT
    # heaps of a CPU fragment less with smaller blocks; a GPU needs slices that fill it
    count = max(1, SLICE // (4 if anew and inputs.device.type != "cuda" else 1) // widest)
    if len(inputs) <= count:
        return block(inputs)
    parts = inputs.split(count)
    if anew:
        return torch.cat([checkpoint(block, part, use_reentrant=False, preserve_rng_state=False) for part in parts])
    return torch.cat([block(part) for part in parts])
