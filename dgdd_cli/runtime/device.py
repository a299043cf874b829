"""The device a run uses, and why."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace

import torch

from dgdd_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Choice:
    """A device, its name for the record, and the reason it was chosen."""

    device: torch.device
    name: str
    reason: str


def given(device: torch.device) -> Choice:
    """A device that is not to be looked for."""
    return Choice(device, device_name(device), "asked for")


def device_name(device: torch.device) -> str:
    """What a record calls a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU" if device.type == "cpu" else "Apple GPU"


def choose_device(asked: str) -> Choice:
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps` as a device; UsageError when it is not there: never a silent CPU run."""
    asked = asked.lower()
    if asked == "auto":
        if torch.cuda.is_available():
            return replace(given(torch.device("cuda")), reason="CUDA is available")
        return replace(given(torch.device("cpu")), reason="no CUDA device was found")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise UsageError(f"unknown device {asked!r}", hint="--device auto, cpu, cuda, cuda:0 or mps") from error
    if device.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= found:
            raise UsageError(
                f"device {asked!r} was asked for, but {found} CUDA devices were found", hint="--device cpu"
            )
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' was asked for, but Metal is not available", hint="--device cpu")
    elif device.type not in ("cpu", "mps"):
        raise UsageError(f"device {asked!r} is not supported", hint="--device auto, cpu, cuda, cuda:0 or mps")
    return given(device)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, as far as PyTorch can tell: without them it is slower."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        return any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
    return True
