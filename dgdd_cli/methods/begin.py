"""Where a run begins: real images, encoded as they are stored, and whatever its steps keep beside them."""

from __future__ import annotations

from dataclasses import replace

import torch

from dgdd_cli.config import Probes, Recipe
from dgdd_cli.data.images import Images
from dgdd_cli.errors import UsageError
from dgdd_cli.methods.decoding import parameterisation_of
from dgdd_cli.methods.state import State, Steps, Tensors
from dgdd_cli.probes.centroid_rows import centroid_rows
from dgdd_cli.runtime.context import Context
from dgdd_cli.synthesis.initial import balanced_rows, random_rows
from dgdd_cli.synthesis.pixels import to_unit


def initial_state(context: Context, source: Images, recipe: Recipe, *, ipc: int) -> State:
    """The synthetic set before the first step. Raises UsageError when `ipc` is above a class's images."""
    generator = context.stream("initialisation")
    coding = parameterisation_of(recipe, source.image_size)
    tiles = coding.factor**2  # real images that go into a stored one
    budget = ipc * tiles
    if recipe.initialisation.name == "random":
        rows = random_rows(source, budget, generator)
    elif recipe.initialisation.name == "balanced-random":
        rows = balanced_rows(source, budget, generator)
    else:
        rows = centroid_rows(context, source, recipe.probes or Probes(), ipc=budget, index=0, generator=generator)
    tensors = coding.encode(to_unit(source.at(rows)).to(context.device))
    velocities = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    labels, domains = source.labels[rows].view(-1, tiles)[:, 0], source.domains[rows].view(-1, tiles)
    domains = torch.where((domains == domains[:, :1]).all(1), domains[:, 0], -1)  # of tiles from several domains: mixed
    return State(
        0,
        tensors,
        velocities,
        labels.to(context.device),
        domains.to(context.device),
        torch.zeros(0, device=context.device),
    )


def begun(state: State, steps: Steps) -> State:
    """The state with what the steps begin with. Raises UsageError for one that other steps have been taken from."""
    if steps.standing is not None and not len(state.standing):
        state = replace(state, standing=steps.standing)
    if state.step == 0:
        own = {name: torch.zeros_like(tensor) for name, tensor in steps.tensors.items()}
        tensors, velocities = {**state.tensors, **steps.tensors}, {**state.velocities, **own}
        return replace(state, tensors=tensors, velocities=velocities)
    check_tensors(state, steps.tensors)
    return state


def check_tensors(state: State, wanted: Tensors) -> None:
    """Raise UsageError for the state of a method that optimised other tensors."""
    if missing := wanted.keys() - state.tensors.keys():
        raise UsageError(
            f"the state is that of another method: it holds {', '.join(state.tensors)} and lacks {min(missing)}",
            hint="--resume with the settings of its run, or --force to start afresh",
        )
