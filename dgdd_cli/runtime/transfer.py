"""From the host to a device without waiting for it: out of pinned memory, and many small tensors in one copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn


class Movable(Protocol):
    """What an nn.Module has that is moved."""

    def parameters(self) -> Iterator[nn.Parameter]: ...
    def buffers(self) -> Iterator[Tensor]: ...
    def to(self, *args: Any, **kwargs: Any) -> Self: ...


Module = TypeVar("Module", bound=Movable)


def to_device(value: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`. A copy to CUDA takes its turn behind the work that is queued, and the host goes on."""
    if device.type != "cuda" or value.is_cuda:
        return value.to(device)
    return value.pin_memory().to(device, non_blocking=True)


def together(values: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of one dtype on `device`, by a single copy."""
    flat = to_device(torch.cat([value.flatten() for value in values]), device)
    parts = flat.split([value.numel() for value in values])
    return [part.view(value.shape) for part, value in zip(parts, values, strict=True)]


def module_to(module: Module, device: torch.device, dtype: torch.dtype) -> Module:
    """The module itself, moved to `device` in `dtype` as `to_device` moves a tensor."""
    module.to(dtype)
    if device.type == "cuda":
        for value in (*module.parameters(), *module.buffers()):
            value.data = value.data.pin_memory()
    return module.to(device, non_blocking=True)
