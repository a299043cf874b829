"""Matching objectives: pure functions of features, one file each, all with the same signature.

`losses(features (N, F), members (M, N), targets) -> (M,)`. One call serves the pooled objective (subsets = classes),
a domain's own (targets = that domain's) and dedicated subsets. Targets are mean features of real images (M, F), or
features of R of them (M, R, F) where `samples` says so.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from dgdd_cli.matching.discrepancy import mmd_losses
from dgdd_cli.matching.distribution import dm_losses


class Losses(Protocol):
    """One loss for each of M subsets of the synthetic images."""

    def __call__(self, features: Tensor, members: Tensor, targets: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Objective:
    """The losses, and whether they compare with samples of the real features instead of their means."""

    losses: Losses
    samples: bool = False


OBJECTIVES = {"dm": Objective(dm_losses), "mmd": Objective(mmd_losses, samples=True)}

__all__ = ["OBJECTIVES", "Losses", "Objective", "dm_losses", "mmd_losses"]
