"""What a trainer is: three pure functions and two facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dgdd_cli.networks import Network

Draws = tuple[Tensor, ...]


def draws_nothing(count: int, settings: Any, generator: torch.Generator) -> Draws:
    """The draws of a trainer without chance."""
    return ()


def stateless(domains: Tensor, num_domains: int) -> Tensor:
    """The state of a trainer that remembers nothing."""
    return torch.empty(0)


@dataclass(frozen=True, slots=True)
class Trainer:
    """A loss of a batch, the random numbers it needs and what it remembers between batches.

    loss(network, images (B, 3, H, W), labels (B,), domains (B,), draws, state, settings) -> (loss, new state): pure,
    of fixed shapes and without branches on values, so that several trainings can be mapped over at once. Domains are
    int64 in [-1, D), -1 where an image belongs to none.
    draw(B, settings, generator) -> tensors on the CPU, all chance of the loss.
    start(domains (N,) of the training set, D) -> the first state.
    """

    loss: Callable[[Network, Tensor, Tensor, Tensor, Draws, Tensor, Any], tuple[Tensor, Tensor]]
    draw: Callable[[int, Any, torch.Generator], Draws] = draws_nothing
    start: Callable[[Tensor, int], Tensor] = stateless
    needs_domains: bool = False
    alone: str | None = None  # why several trainings cannot be mapped over; None where they can
