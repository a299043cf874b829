"""Which implementation runs on a device, and the reason in words."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Literal, NamedTuple

import torch

from dgdd_cli.errors import UnknownName, UsageError

KERNELS = ("auto", "triton", "torch")
MINIMUM_CAPABILITY = (8, 0)


class Status(NamedTuple):
    """What `kernels="auto"` picks ("triton" or "torch") and why."""

    kernels: Literal["triton", "torch"]
    reason: str


def status(device: torch.device | str | None = None) -> Status:
    """What `auto` picks on `device` (default: the CUDA device if there is one), with the reason.

    Probed in order: CUDA is there, its compute capability is at least 8.0, Triton is installed. Triton itself is
    not imported.
    """
    if device is None:
        return _cuda_status(None)
    where = torch.device(device)
    if where.type != "cuda":
        return Status("torch", f"the tensors are on {where.type}; Triton kernels run on CUDA devices")
    return _cuda_status(where.index)


@lru_cache
def _cuda_status(index: int | None) -> Status:
    if not torch.cuda.is_available():
        if torch.version.cuda is None:
            return Status("torch", "this torch was built without CUDA")
        return Status("torch", "torch sees no CUDA device (torch.cuda.is_available() is False)")
    name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    shown = f"{name}, compute capability {capability[0]}.{capability[1]}"
    if capability < MINIMUM_CAPABILITY:
        return Status("torch", f"{shown}: the Triton kernels need 8.0 or newer")
    if find_spec("triton") is None:
        return Status("torch", f"{shown}, but Triton is not installed")
    return Status("triton", f"{shown}, Triton is installed")


def interpreting() -> bool:
    """Whether Triton runs its kernels through its CPU interpreter (TRITON_INTERPRET=1 when it was imported)."""
    if find_spec("triton") is None:
        return False
    import triton

    return bool(triton.knobs.runtime.interpret)


def choose(kernels: str, device: torch.device, dtype: torch.dtype) -> Literal["triton", "torch"]:
    """The implementation for tensors on `device`.

    Raises:
        UsageError: "triton" was asked for where it cannot run; the message holds the reason.
        UnknownName: `kernels` is none of `KERNELS`.
    """
    if kernels not in KERNELS:
        raise UnknownName("kernels", kernels, KERNELS)
    if kernels == "torch":
        return "torch"
    if kernels == "auto":
        return status(device).kernels if device.type == "cuda" and dtype == torch.float32 else "torch"
    if dtype != torch.float32:
        raise UsageError(f"the Triton kernels cannot run: they take float32, not {dtype}", hint="--kernels auto")
    if device.type == "cpu" and interpreting():
        return "triton"
    found = status(device)
    if found.kernels == "torch":
        raise UsageError(f"the Triton kernels cannot run: {found.reason}", hint="--kernels auto")
    return "triton"
