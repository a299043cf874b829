"""What a trainer is: the loss of a batch, and hooks that most do without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgdd_cli.config.settings import Settings
from dgdd_cli.networks import Backbone
from dgdd_cli.synthesis.labels import Kind, Labels

Draws = tuple[Tensor, ...]
Parameters = dict[str, Tensor]
Compute = Callable[[], tuple[Tensor, Tensor]]  # the loss of the batch at the parameters as they are, and the new state


class Batch(NamedTuple):
    """What a loss sees of the data in one step; of R trainings in lockstep, every tensor has R in front."""

    images: Tensor  # (B, 3, H, W) float32, normalised and augmented
    labels: Labels  # of B images
    domains: Tensor  # (B,) int64 in [-1, D); -1 where an image belongs to none
    draws: Draws  # what the trainer drew for this batch


class End(NamedTuple):
    """Final parameters of the network that are not those of the last step, such as their average.

    follow(running, parameters, step, steps, settings) -> running: after every step, 1 to `steps`; the first `running`
    is None. result(running, settings) -> the parameters. Both act on each element by itself, since of R trainings in
    lockstep every parameter is (R, ...). Statistics of batch normalisation are taken anew with the final parameters.
    """

    follow: Callable[[Any, Parameters, int, int, Any], Any]
    result: Callable[[Any, Any], Parameters]


def draws_nothing(count: int, settings: Any, generator: torch.Generator) -> Draws:
    """The draws of a trainer without chance."""
    return ()


def stateless(domains: Tensor, num_domains: int) -> Tensor:
    """The state of a trainer that remembers nothing."""
    return torch.empty(0)


def any_network(network: Backbone) -> None:
    """The check of a trainer that acts on every network."""


def no_parameters(network: Backbone, settings: Any, generator: torch.Generator) -> Parameters:
    """The parameters of a trainer that has none beside the network's."""
    return {}


def gradient_step(
    compute: Compute, parameters: Sequence[Tensor], optimiser: torch.optim.Optimizer, lead: int, settings: Any
) -> Tensor:
    """One step of the optimiser along the gradient of the loss."""
    loss, state = compute()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return state


@dataclass(frozen=True, slots=True)
class Trainer:
    """A loss of a batch; optional are settings, random numbers, a memory, parameters, a step and an end of its own.

    loss(network, batch, own, state, settings) -> (loss, new state): pure, of fixed shapes and without branches on
    values, so that several trainings can be mapped over at once. The loss of one image is `label_losses`.
    settings: the model of the table that carries the trainer's name in a protocol.
    draw(B, settings, generator) -> tensors on the CPU, all chance of the loss.
    start(domains (N,) of the training set, D) -> the first state.
    parameters(network, settings, generator) -> tensors on the CPU that are optimised beside the network's: `own`.
    step(compute, parameters, optimiser, lead, settings) -> new state: takes the step itself. Of R trainings in lockstep
    each parameter is (R, ...) and `lead` is 1: what is summed over parameters is summed from that dimension on.
    """

    loss: Callable[[Backbone, Batch, Parameters, Tensor, Any], tuple[Tensor, Tensor]]
    settings: type[Settings] | None = None
    draw: Callable[[int, Any, torch.Generator], Draws] = draws_nothing
    start: Callable[[Tensor, int], Tensor] = stateless
    parameters: Callable[[Backbone, Any, torch.Generator], Parameters] = no_parameters
    step: Callable[[Compute, Sequence[Tensor], torch.optim.Optimizer, int, Any], Tensor] = gradient_step
    end: End | None = None
    needs_domains: bool = False
    check: Callable[[Backbone], object] = any_network  # raises UsageError for a network that the loss cannot act on
    min_depth: int = 1  # blocks of the network, where the loss acts between some
    labels: tuple[Kind, ...] = ("hard", "probability", "regression")  # the kinds that it can use
    alone: str | None = None  # why several trainings cannot be mapped over; None where they can
