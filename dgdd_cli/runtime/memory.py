"""Memory: how much is used, how much is free, and a setting that makes CPU steps faster."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys

import torch

from dgdd_cli.runtime.memory_left import left_in_groups, left_of_limits, left_on_machine

# glibc's <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for the next step instead of giving them back; True where that was possible.

    A step frees and asks for the same feature maps again and again. By default blocks of this size are mapped and
    unmapped each time, and the kernel clears every page anew. It changes no result, and peak memory hardly.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20))
    accepted = [libc.mallopt(name, value) for name, value in settings]
    return all(accepted)


def peak_memory_bytes() -> int:
    """The largest resident size this process has had (Linux counts it in kibibytes, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory_bytes(device: torch.device) -> int | None:
    """Free memory of the device; None where the system does not tell.

    For the CPU the least of what the machine, the control groups and the limits of the process leave.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = [left for left in (left_on_machine(), left_in_groups(), left_of_limits()) if left is not None]
    return min(known, default=None)
