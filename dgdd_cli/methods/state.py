"""Where a run stands, and what takes it a step further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dgdd_cli.methods.step import Stepped

TENSORS = ("images", "velocity", "labels", "domains", "standing")


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands after `step` steps: float32 images and velocity (N, 3, H, W), int64 labels and domains (N,),
    and the weights of the groups that group-DRO has accumulated, float32 (G,), empty without it."""

    step: int
    images: Tensor
    velocity: Tensor
    labels: Tensor
    domains: Tensor
    standing: Tensor


@dataclass(frozen=True, slots=True)
class Steps:
    """The gradient of a step (images, number, standing), where a run can be taken up again, and the weights of the
    groups that it begins with, where it keeps some."""

    gradient: Callable[[Tensor, int, Tensor], Stepped]
    resumable: Callable[[int], bool] = lambda step: True
    standing: Tensor | None = None
