"""What decides the bytes of a result beside its inputs: versions, and how a device rounds."""

from __future__ import annotations

import platform
from importlib import metadata

import torch

import dgdd_cli

LIBRARIES = ("torch", "torchvision", "safetensors", "numpy", "pillow", "scikit-learn")


def software() -> dict[str, str]:
    """The versions of dgdd, Python and the libraries that images and numbers pass through, by name."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    return {"dgdd": dgdd_cli.__version__, "python": platform.python_version(), **versions}


def arithmetic(device: torch.device, precision: str) -> tuple[str | int, ...]:
    """What decides how sums on a device round: who computes, on which model or instructions, with how many threads,
    and in what precision (see precision.py)."""
    return *named_arithmetic(device).values(), precision


def named_arithmetic(device: torch.device) -> dict[str, str | int]:
    """The same by name, without the precision, which is a setting."""
    cuda = device.type == "cuda"
    model = torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
    return {
        "dgdd": dgdd_cli.__version__,
        "device": device.type,
        "processor": model,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
