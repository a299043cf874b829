"""Where a run stands, and what takes it a step further."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Descent:
    """SGD of one tensor: velocity ← `momentum` · velocity + gradient; tensor ← tensor − rate_t · velocity, where rate_t
    falls linearly to 0 or stays."""

    rate: float
    momentum: float = 0.0
    decay: Literal["linear", "none"] = "none"


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands after `step` steps: what is optimised, float32 tensors by name, with a velocity each; int64
    labels (N,) of the stored images and domains (M,) of the training images, which stay; and the weights of the groups
    that group-DRO has accumulated, float32 (G,), empty without it."""

    step: int
    tensors: Tensors
    velocities: Tensors
    labels: Tensor
    domains: Tensor
    standing: Tensor

    def to(self, device: torch.device) -> State:
        """The same state on a device."""
        return replace(
            self,
            tensors={name: value.to(device) for name, value in self.tensors.items()},
            velocities={name: value.to(device) for name, value in self.velocities.items()},
            labels=self.labels.to(device),
            domains=self.domains.to(device),
            standing=self.standing.to(device),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Stepped:
    """What a step finds: the gradient of every tensor, the standing weights of the groups, and figures to report."""

    gradients: Tensors
    standing: Tensor
    figures: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Steps:
    """The gradients of a step (tensors, number, standing), and where a run can be taken up again.

    What it begins with: the weights of the groups, where it keeps some, and tensors of its own beside those of the
    parameterisation, each with its descent in `descents`; one there for another name replaces the recipe's optimiser.
    """

    gradient: Callable[[Tensors, int, Tensor], Stepped]
    resumable: Callable[[int], bool] = lambda step: True
    standing: Tensor | None = None
    tensors: Tensors = field(default_factory=dict)
    descents: Mapping[str, Descent] = field(default_factory=dict)
