"""Versions of what decides the bytes of a result."""

from __future__ import annotations

import platform
from importlib import metadata

import dgdd_cli


def software() -> dict[str, str]:
    """The versions of dgdd, Python and the libraries that images and numbers pass through, by name."""
    versions = {name: metadata.version(name) for name in ("torch", "torchvision", "safetensors", "numpy", "pillow")}
    return {"dgdd": dgdd_cli.__version__, "python": platform.python_version(), **versions}
