"""Distillation: source set and recipe to a synthetic set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.config import Recipe
from dgdd_cli.core.dispatch import choose
from dgdd_cli.data.images import Images
from dgdd_cli.engine.loop import Keep, optimise
from dgdd_cli.errors import Interrupted, UsageError
from dgdd_cli.groups.find import Groups
from dgdd_cli.methods import method_of
from dgdd_cli.methods.begin import begun, check_tensors, initial_state
from dgdd_cli.methods.decoding import parameterisation_of
from dgdd_cli.methods.estimate import announce
from dgdd_cli.methods.group_cells import group_cells_of
from dgdd_cli.methods.memory import sizes_of
from dgdd_cli.methods.state import Descent, State
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.precision import computing_in
from dgdd_cli.synthesis.codec import Codec, decode, encode
from dgdd_cli.synthesis.labelling import label
from dgdd_cli.synthesis.labels import Labels
from dgdd_cli.synthesis.parameterisation import training_images
from dgdd_cli.synthesis.pixels import to_unit


@dataclass(frozen=True, slots=True)
class Distilled:
    """The result: what is stored by name, labels int64 (N,), the steps that were made, and the domains int64 (M,) of
    the training images with what each is taught."""

    stored: Mapping[str, Tensor]
    labels: Tensor
    domains: Tensor
    steps: int
    taught: Labels

    @property
    def images(self) -> Tensor:
        """The stored images, uint8 (N, 3, H, W), where pixels are stored."""
        return self.stored["images"]


def distill(
    context: Context,
    source: Images,
    recipe: Recipe,
    *,
    ipc: int,
    groups: Groups | None = None,
    state: State | None = None,
    keep: Keep | None = None,
    keep_seconds: float = 30.0,
    codec: Codec | None = None,
) -> Distilled:
    """Distil `source` to IPC images a class by projected SGD on the pixels.

    `recipe` must be `complete`, and `groups` are those that its risk names. `state` continues an earlier run; `keep` is
    called with the state about every `keep_seconds` (the clock decides when a checkpoint is written, never what is
    computed) and on Ctrl-C, which then raises Interrupted. With several ranks each step averages their gradients, so
    every rank holds the same images; only the leading one should `keep`. Probe banks are kept in the cache. The log
    says what the run will take; raises UsageError where the device has no room for it. On one type of CPU the result
    depends on nothing but the arguments; CUDA adds up in any order. The precision is that of the probes, whatever the
    process is set to.
    """
    if recipe.surgery or recipe.risk:
        choose(context.kernels, context.device, torch.float32)  # refuses now, not after the bank
    elif context.kernels != "auto":
        raise UsageError(
            "--kernels chooses how surgery and risks are computed: this method has neither", hint="--method sgs"
        )
    precision = recipe.probes.precision if recipe.probes else "float32"
    with computing_in(precision, context.device, setting="probes.precision"):
        coding = parameterisation_of(recipe, source.image_size)
        state = state or initial_state(context, source, recipe, ipc=ipc)
        state = state.to(context.device)
        check_tensors(state, coding.encode(to_unit(source.at(torch.arange(coding.factor**2) % len(source)))))
        group_cells = group_cells_of(source, groups).to(context.device) if groups else None
        sizes = sizes_of(
            source, ipc=ipc, group_cells=group_cells.partition.count if group_cells else 0, tiles=coding.factor**2
        )
        announce(context, recipe, sizes, done=state.step)
        if recipe.matching and recipe.probes and recipe.optimiser:
            try:
                steps = method_of(recipe.matching).steps(context, source, recipe, state, group_cells)
                context.ranks.wait()
            except KeyboardInterrupt as interrupt:
                raise Interrupted(
                    f"interrupted before step {state.step + 1}",
                    hint="the same command with --resume continues the run" if state.step else None,
                ) from interrupt
            state = begun(state, steps)
            own = recipe.optimiser
            rate = own.image_rate * ipc / 10  # the gradient of a class mean is 1/IPC an image
            descents = {name: Descent(rate, own.momentum, own.decay) for name in state.tensors} | dict(steps.descents)
            state = optimise(
                context,
                state,
                steps,
                own.steps,
                descents=descents,
                project=lambda moved: {**moved, **coding.project(moved)},
                keep=keep,
                keep_seconds=keep_seconds,
            )
    labels, size = state.labels.cpu(), source.image_size
    stored = encode({name: tensor.cpu() for name, tensor in coding.store(state.tensors).items()}, codec)
    seen = decode(stored, codec, count=len(labels), height=size, width=size)  # what is decoded is what is taught
    images, owners = training_images(coding, seen)
    taught = label(recipe.labels.name, recipe.labels.settings, context, source, images, labels[owners])
    return Distilled(stored, labels, state.domains.cpu(), state.step, taught)
