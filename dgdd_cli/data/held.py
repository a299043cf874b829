"""Pixels in one tensor, and copies of others on a device: the one place that decides what lies there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dgdd_cli.runtime.memory import free_memory_bytes
from dgdd_cli.runtime.transfer import to_device

if TYPE_CHECKING:
    from dgdd_cli.data.images import Pixels

SHARE = 4  # copies fill at most this part of what is free on a device: 1/4
_CHUNK = 2**26  # bytes of a copy that are on their way at once


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Pixels in one tensor uint8 (N, 3, H, W), on any device."""

    images: Tensor

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def image_size(self) -> int:
        return self.images.shape[-1]

    def batches(self, size: int, rows: Tensor | None = None) -> Iterator[Tensor]:
        """All images, or those at `rows`, in order, `size` at a time."""
        return iter(self.images.split(size)) if rows is None else map(self.at, rows.split(size))

    def at(self, rows: Tensor) -> Tensor:
        """The images at `rows` int64 (n,)."""
        return self.images[rows]


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """Pixels that stay on the host and go to a device when they are asked for."""

    pixels: Pixels
    device: torch.device

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def image_size(self) -> int:
        return self.pixels.image_size

    def batches(self, size: int, rows: Tensor | None = None) -> Iterator[Tensor]:
        for batch in self.pixels.batches(size, None if rows is None else rows.cpu()):
            yield to_device(batch, self.device)

    def at(self, rows: Tensor) -> Tensor:
        return to_device(self.pixels.at(rows.cpu()), self.device)


def resident(sets: Sequence[Pixels], device: torch.device) -> list[Pixels]:
    """The sets for use on a device, where what is asked of them comes to lie: by copies that stay, one set after the
    other, for as long as all fill at most a quarter of its free memory; the rest from the host each time.

    On the CPU no copy is made.
    """
    if device.type == "cpu":
        return list(sets)
    there = [isinstance(own, Held) and _is(own.images.device, device) for own in sets]
    stay = iter(_staying([_bytes(own) for own, is_there in zip(sets, there, strict=True) if not is_there], device))
    found: list[Pixels] = []
    for own, is_there in zip(sets, there, strict=True):
        found.append(own if is_there else Held(_copied(own, device)) if next(stay) else _Sent(own, device))
    return found


def _is(there: torch.device, wanted: torch.device) -> bool:
    """`cuda` is any of the CUDA devices."""
    return there.type == wanted.type and wanted.index in (None, there.index)


def resident_bytes(sizes: Sequence[int], device: torch.device) -> int:
    """How much of sets of these sizes (bytes) `resident` copies to a device."""
    if device.type == "cpu":
        return 0
    return sum(size for size, stays in zip(sizes, _staying(sizes, device), strict=True) if stays)


def _staying(sizes: Sequence[int], device: torch.device) -> list[bool]:
    """Which of several sets stay on a device."""
    left, found = (free_memory_bytes(device) or 0) // SHARE, []
    for size in sizes:
        found.append(size <= left)
        left -= size if found[-1] else 0
    return found


def _bytes(pixels: Pixels) -> int:
    return pixels.images.nbytes if isinstance(pixels, Held) else 3 * len(pixels) * pixels.image_size**2


def _copied(pixels: Pixels, device: torch.device) -> Tensor:
    """All pixels on a device, chunk by chunk: the host never holds them all for it."""
    copy, filled = torch.empty(0), 0
    for part in pixels.batches(max(1, _CHUNK // (3 * pixels.image_size**2))):
        if not filled:
            copy = part.new_empty((len(pixels), *part.shape[1:]), device=device)
        copy[filled : filled + len(part)] = to_device(part, device)
        filled += len(part)
    return copy
