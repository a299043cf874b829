"""Banks: exact statistics of K views over the source set, one entry of the cache for each probe and share of the set.

A share is a domain, or the parts of a risk that are no cells: what is computed of it depends on no other. So leaving
out one domain in turn computes each of them once, a larger bank begins with a smaller one, and a run that is killed
leaves what it has. A bank lives in memory, or, where it would take more than half of what is free, in the cache alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from dgdd_cli.errors import UsageError
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.memory import free_memory_bytes
from dgdd_cli.runtime.transfer import to_device
from dgdd_cli.storage.cache import Cache, Key
from dgdd_cli.storage.kept_tensors import read_tensors, write_tensors
from dgdd_cli.text import plural


@dataclass(frozen=True, slots=True)
class Share:
    """What is kept as one: under `key(index)` the statistics `compute(index)`, float32 (rows, F), of a probe."""

    rows: int
    key: Callable[[int], Key]
    compute: Callable[[int], Tensor]


def fill_bank(context: Context, shares: Sequence[Share], indices: Sequence[int], width: int) -> Callable[[int], Tensor]:
    """Place in `indices` to the statistics of that probe, float32 (R, F = width), share by share.

    Computes what the cache does not have. In memory on the device, or read from the cache at each call when large.
    Raises UsageError with the estimate, before it starts, when neither has room.
    """
    device, cache, progress = context.device, context.cache, context.progress
    rows = sum(share.rows for share in shares)
    held = _held(len(indices), 4 * rows * width, device, cache)
    bank = torch.empty((len(indices) if held else 0, rows, width), device=device)
    progress("probe bank", 0, len(indices))
    for place, index in enumerate(indices):
        found = _statistics(shares, index, width, device, cache)
        if held:
            bank[place] = found
        progress("probe bank", place + 1, len(indices))
    return bank.__getitem__ if held else lambda place: _statistics(shares, indices[place], width, device, cache)


def _statistics(shares: Sequence[Share], index: int, width: int, device: torch.device, cache: Cache | None) -> Tensor:
    """The statistics of one probe, (R, F), each share from the cache, or computed and put there."""
    if cache is None:
        return torch.cat([share.compute(index) for share in shares])
    found, computed = [], False
    for share in shares:
        key, shape = share.key(index), (share.rows, width)
        statistics = cache.get(key, partial(_read, about=key.document(), shape=shape))
        if statistics is None:
            statistics, computed = share.compute(index), True
            cache.put(key, partial(_write, statistics=statistics, about=key.document()), trim=False)
        found.append(to_device(statistics, device))
    if computed:
        cache.trim()
    return torch.cat(found)


def _write(path: Path, *, statistics: Tensor, about: object) -> None:
    write_tensors(path, {"statistics": statistics}, about)


def _read(path: Path, *, about: object, shape: tuple[int, int]) -> Tensor:
    tensors, said = read_tensors(path)
    if said != about:
        raise ValueError("it was made for something else")
    statistics = tensors.get("statistics")
    if len(tensors) != 1 or statistics is None or statistics.shape != shape or statistics.dtype != torch.float32:
        raise ValueError("it does not hold one float32 tensor of the size that is asked for")
    return statistics


def _held(count: int, each: int, device: torch.device, cache: Cache | None) -> bool:
    """Whether a bank of `count` probes of `each` bytes lives in memory, else in the cache alone. Raises UsageError
    where it has room in neither."""
    size, known = each * count, free_memory_bytes(device)
    free = math.inf if known is None else known
    if 2 * size <= free:
        return True
    room = 0 if cache is None else cache.room()
    if size <= max(room, free):
        return size > room
    most = int(max(free / 2, room) // max(1, each))
    raise UsageError(
        f"a bank of {plural(count, 'probe')} needs {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory and "
        f"{room / 2**30:.1f} GiB of the cache are free",
        hint=f"--probes bank:{most}, or --probes fresh" if most else "--probes fresh",
    )
