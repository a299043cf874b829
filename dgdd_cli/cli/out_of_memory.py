"""How running out of memory looks on each device, and what takes less of it."""

from __future__ import annotations

import errno
import re

from dgdd_cli.runtime.memory_left import left_of_limits

# In the messages of torch's errors, which for a CPU are plain RuntimeErrors.
SIGNS = {
    "the CPU": ("DefaultCPUAllocator", "alloc_cpu.cpp", "std::bad_alloc", "Cannot allocate memory"),
    "the CUDA device": (
        "CUDA out of memory",
        "CUDA error: out of memory",
        "_STATUS_ALLOC_FAILED",
        "CUFFT_ALLOC_FAILED",
    ),
    "the Apple GPU": ("MPS backend out of memory",),
}
ANY = "out of memory"  # of FreeType, of Pillow's decoders
# What oneDNN, Python and the loader say without a reason: it is memory where the process has reached its own limit.
VAGUE = ("could not create a primitive", "could not execute a primitive", "can't start new thread")
UNMAPPED = "failed to map segment"  # of a shared library: hundreds of MiB in one piece, whatever smaller ones are left
UNLOADED = "the limit of this process does not hold its libraries"
NEARLY_NONE = 2**26  # bytes

LESS = {
    "distill": "a smaller --image-size or --ipc takes less; so do --probes bank:5, --set probes.width=64, and of fresh "
    "probes --set probes.batch=16",
    "evaluate": "--set batch=16 or --set width=64 takes less, and so does a bundle of a smaller --image-size or --ipc",
    "cluster": "a smaller --image-size takes less, and so do fewer --domains",
    "inspect": "--gallery and --export take less of a bundle of a smaller --image-size or --ipc",
}


def out_of_memory(problem: BaseException, verb: str) -> tuple[str, str] | None:
    """The message and the hint of a verb that ran out of memory; None where something else went wrong."""
    device = _device(problem)
    if device is None:
        return None
    if isinstance(problem, ImportError) or UNMAPPED in str(problem):
        return f"out of memory on {device}: {UNLOADED}", "ulimit -v unlimited"
    wanted = _asked_for(str(problem))
    hint = LESS.get(verb, "a smaller --image-size or --ipc takes less")
    if device != "the CPU" and verb in ("distill", "evaluate"):
        hint += "; --device cpu has the machine's memory"
    return f"out of memory on {device}" + (f": {wanted} more were asked for" if wanted else ""), hint


def _device(problem: BaseException) -> str | None:
    said = str(problem)
    if isinstance(problem, MemoryError) or (isinstance(problem, OSError) and problem.errno == errno.ENOMEM):
        return "the CPU"
    if not isinstance(problem, RuntimeError | OSError | ImportError):
        return None
    for device, signs in SIGNS.items():
        if any(sign in said for sign in signs):
            return device
    if type(problem).__name__ == "OutOfMemoryError":  # torch's, of whatever accelerator
        return "the device"
    if any(sign in said for sign in (*VAGUE, UNMAPPED)):
        left = left_of_limits()
        return "the CPU" if left is not None and (left < NEARLY_NONE or UNMAPPED in said) else None
    return "the CPU" if ANY in said else None


def _asked_for(said: str) -> str | None:
    """The amount that an allocator names: bytes on a CPU, with a unit on CUDA and in numpy."""
    found = re.search(r"(?:tried|Tried|Unable) to allocate ([0-9.]+) ?(bytes|[KMGTPE]iB)", said)
    if found is None:
        return None
    if found[2] != "bytes":
        return f"{found[1]} {found[2]}"
    amount = int(found[1])
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.1f} MiB"
