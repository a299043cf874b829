"""Matching: what of images is compared (readout.py), and objectives, pure functions of it, one file each.

`losses(features (N, F), members (M, N), targets) -> (M,)`. One call serves the pooled objective (subsets = classes),
a domain's own (targets = that domain's) and dedicated subsets. Targets are mean features of real images (M, F), or
features of R of them (M, R, F) where `samples` says so. A new objective is such a function and its line in OBJECTIVES.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from dgdd_cli.matching.discrepancy import member_rows, mmd_losses
from dgdd_cli.matching.distribution import dm_losses


class Losses(Protocol):
    """One loss for each of M subsets of the synthetic images."""

    def __call__(self, features: Tensor, members: Tensor, targets: Tensor) -> Tensor: ...


def as_mask(members: Tensor) -> Tensor:
    """The members of M subsets as they come, bool (M, N)."""
    return members


@dataclass(frozen=True, slots=True)
class Objective:
    """The losses, and what an engine has to know of them.

    `samples`: they compare with samples of the real features instead of their means.
    `linear`: their gradient in the features is linear in the targets, Σ w_d ∂ℓ(f, μ_d) = ∂ℓ(f, Σ w_d μ_d) for weights
    that sum to 1, and for samples of the mixture alike. It spares surgery a product; not declared is never wrong.
    `by_domain`: a domain's own losses mean something without the others; surgery asks for it.
    `prepare`: what the losses take instead of the mask of members (M, N), made once, before the first step.
    """

    losses: Losses
    samples: bool = False
    linear: bool = False
    by_domain: bool = True
    prepare: Callable[[Tensor], Tensor] = as_mask


OBJECTIVES: dict[str, Objective] = {
    "dm": Objective(dm_losses, linear=True),
    # its kernel's bandwidth is that of the samples: not linear in them
    "mmd": Objective(mmd_losses, samples=True, prepare=member_rows),
}

__all__ = ["OBJECTIVES", "Losses", "Objective", "dm_losses", "mmd_losses"]
