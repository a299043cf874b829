"""Where a run begins: real images, encoded as they are stored, and whatever its steps keep beside them."""

from __future__ import annotations

import logging
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
from dgdd_cli.text import plural

log = logging.getLogger("dgdd")


def initial_state(context: Context, source: Images, recipe: Recipe, *, ipc: int) -> State:
    """The synthetic set before the first step.

    Of tiles, IPC · f² real images of a class are dealt over its domains, and repeat where the class has fewer. Raises
    UsageError when IPC is above a class's images otherwise.
    """
    generator = context.stream("initialisation")
    coding = parameterisation_of(recipe, source.image_size)
    tiles = coding.factor**2  # real images that go into a stored one
    budget, repeats = ipc * tiles, tiles > 1
    if repeats and (few := int(source.counts().sum(1).min())) < budget:
        log.info("%s a class for %s at least: images repeat", plural(budget, "tile"), plural(few, "image"))
    if recipe.initialisation.name == "random":
        rows = random_rows(source, budget, generator, repeats=repeats)
    elif recipe.initialisation.name == "balanced-random":
        rows = balanced_rows(source, budget, generator, repeats=repeats)
    else:
        probes = recipe.probes or Probes()
        rows = centroid_rows(context, source, probes, ipc=budget, index=0, generator=generator, repeats=repeats)
    tensors = coding.encode(to_unit(source.at(rows)).to(context.device))
    velocities = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    return State(
        0,
        tensors,
        velocities,
        source.labels[rows].view(-1, tiles)[:, 0].to(context.device),
        source.domains[rows].to(context.device),
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
