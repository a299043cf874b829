"""What a run takes, said before it starts, and what would fit where the device has no room for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from dgdd_cli.errors import UsageError
from dgdd_cli.runtime.memory import free_memory_bytes, peak_memory_bytes

# Memory in use for each byte of tensors: on a CPU convolutions reorder their maps, and its heap keeps what is freed
# (see memory.py), with holes in it. Measured at 112 and 224 px, passes of all kinds took 1.2 to 2.2.
ON_CPU, ELSEWHERE = 1.6, 1.2

Option = tuple[str, int]  # what to type, and the bytes that a run with it takes


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes of the device that a run takes beside what is taken already, its seconds, and its work in words."""

    bytes: int
    seconds: float
    work: str


def in_use(tensors: int, device: torch.device) -> int:
    """Bytes in use for a pass whose tensors take `tensors` bytes at its peak."""
    return int(tensors * (ON_CPU if device.type == "cpu" else ELSEWHERE))


def sentence(estimate: Estimate, device: torch.device) -> str:
    """The estimate in a line: on a CPU the memory of the process, elsewhere that of the device."""
    if device.type == "cpu":
        memory = in_words(estimate.bytes + peak_memory_bytes())
    else:
        memory = f"{in_words(estimate.bytes)} of the device"
    return f"about {duration(estimate.seconds)} and {memory}: {estimate.work}"


def require_room(needed: int, device: torch.device, smaller: Iterable[Sequence[Option]]) -> None:
    """Raise UsageError where the free memory of the device is known and below `needed` bytes.

    `smaller` are ways to take less, each a sequence of options; the hint names the first of each that would fit.
    """
    free = free_memory_bytes(device)
    if free is None or needed <= free:
        return
    fitting = [next((option for option, bytes_ in way if bytes_ <= free), None) for way in smaller]
    named = [option for option in fitting if option]
    raise UsageError(
        f"this run needs about {in_words(needed)} of memory, and {in_words(free)} are free",
        hint=f"what would fit: {', or '.join(named)}" if named else "end other programs, or take a larger machine",
    )


def halves(value: int, least: int) -> list[int]:
    """Half of a value, a quarter, and so on, down to `least`."""
    found = []
    while value // 2 >= least:
        value //= 2
        found.append(value)
    return found


def in_words(count: int) -> str:
    """Bytes as `340 MiB` or `1.3 GiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MiB"


def duration(seconds: float) -> str:
    """Seconds as `4 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def each(seconds: float) -> str:
    """The seconds of one step with two digits."""
    return f"{seconds:.2g} s" if seconds >= 0.001 else "under 1 ms"
