"""The distillation loop: source set and recipe to a synthetic set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dgdd_cli.augment import for_dataset, parse
from dgdd_cli.config import Probes, Recipe
from dgdd_cli.core.dispatch import choose
from dgdd_cli.data.dataset import DomainDataset, Normalisation
from dgdd_cli.engine.checkpoint import State
from dgdd_cli.engine.probes import CHUNK, make_view, probe_source
from dgdd_cli.engine.ranks import ALONE, RankLost, Ranks
from dgdd_cli.engine.seeds import stream
from dgdd_cli.engine.step import describe_cells, pooled_gradient, surgical_gradient
from dgdd_cli.errors import DgddError, Interrupted, UsageError
from dgdd_cli.progress import Progress, silent
from dgdd_cli.synthesis.initial import balanced_rows, kmeans_rows, random_rows
from dgdd_cli.synthesis.pixels import to_bytes, to_unit

Keep = Callable[[State], None]


@dataclass(frozen=True, slots=True)
class Distilled:
    """The result: images uint8 (N, 3, H, W), labels and domains int64 (N,), and the steps that were made."""

    images: Tensor
    labels: Tensor
    domains: Tensor
    steps: int


def normalisation_of(source: DomainDataset) -> Normalisation:
    """The set's published normalisation, else the per-channel statistics of the source images themselves."""
    if source.normalisation is not None:
        return source.normalisation
    pixels = source.images.permute(1, 0, 2, 3).flatten(1)  # (3, N·H·W)
    levels = torch.stack([torch.bincount(channel.int(), minlength=256) for channel in pixels]).double()  # (3, 256)
    share, level = levels / levels.sum(1, keepdim=True), torch.arange(256, dtype=torch.float64) / 255
    mean = share @ level
    std = (share @ level.square() - mean.square()).clamp_min(1e-8).sqrt()
    r, g, b = (round(v, 6) for v in mean.tolist())
    x, y, z = (round(max(v, 1e-3), 6) for v in std.tolist())
    return Normalisation((r, g, b), (x, y, z), "the source images")


def complete(recipe: Recipe, dataset: str) -> Recipe:
    """The recipe with what depends on the dataset filled in (`augment = "auto"`), checked as far as possible.

    Raises UsageError for parts that do not go together: surgery without matching, matching without an optimiser.
    """
    if recipe.surgery and not recipe.matching:
        raise UsageError("surgery needs a matching objective to act on", hint="--method sgs, or --set matching.name=dm")
    if recipe.matching and not (recipe.probes and recipe.optimiser):
        raise UsageError("matching needs the tables probes and optimiser", hint="start from --method dm --print-config")
    if recipe.optimiser and not recipe.matching:
        raise UsageError("this method selects real images: it makes no steps", hint="--method sgs or dm makes steps")
    if recipe.probes and not recipe.matching and recipe.initialisation.name != "kmeans":
        raise UsageError("this method looks through no probes", hint="--method sgs, dm or kmeans does")
    if recipe.probes is None:
        return recipe
    augment = for_dataset(recipe.probes.augment, dataset)
    parse(augment)
    return recipe.model_copy(update={"probes": recipe.probes.model_copy(update={"augment": augment})})


def initial_state(source: DomainDataset, recipe: Recipe, *, ipc: int, seed: int, device: torch.device) -> State:
    """The synthetic set before the first step. Raises UsageError when `ipc` is above a class's images."""
    generator = stream(seed, "initialisation")
    if recipe.initialisation.name == "random":
        rows = random_rows(source, ipc, generator)
    elif recipe.initialisation.name == "balanced-random":
        rows = balanced_rows(source, ipc, generator)
    else:
        probes = (recipe.probes or Probes()).model_copy(update={"augment": "none"})
        view = make_view(source, probes, normalisation_of(source), seed, 0, device)

        @torch.no_grad()
        def features(images: Tensor) -> Tensor:
            return torch.cat([view(to_unit(part.to(device))).cpu() for part in images.split(CHUNK)])

        rows = kmeans_rows(source, ipc, generator, features)
    images = to_unit(source.images[rows]).to(device)
    return State(0, images, torch.zeros_like(images), source.labels[rows].to(device), source.domains[rows].to(device))


def distill(
    source: DomainDataset,
    recipe: Recipe,
    *,
    ipc: int,
    seed: int,
    device: torch.device,
    state: State | None = None,
    keep: Keep | None = None,
    keep_seconds: float = 30.0,
    kernels: str = "auto",
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> Distilled:
    """Distil `source` to IPC images a class by projected SGD on the pixels.

    `recipe` must be `complete`; `state` continues an earlier run; `keep` is called with the state about every
    `keep_seconds` (the clock decides when a checkpoint is written, never what is computed) and on Ctrl-C, which then
    raises Interrupted. With several ranks each step averages their gradients, so every rank holds the same images; only
    the leading one should `keep`. On one type of machine the result depends on nothing but the arguments.
    """
    if recipe.surgery:
        choose(kernels, device, torch.float32)  # refuses now, not after the bank
    elif kernels != "auto":
        raise UsageError("--kernels chooses how surgery is computed: this method has none", hint="--method sgs")
    state = state or initial_state(source, recipe, ipc=ipc, seed=seed, device=device)
    state = _optimise(source, recipe, state, ipc, seed, device, keep, keep_seconds, kernels, ranks, progress)
    images = to_bytes(state.images.detach()).cpu()
    return Distilled(images, state.labels.cpu(), state.domains.cpu(), state.step)


def _check_finite(update: Tensor, step: int) -> None:
    # Clamping turns an infinite step into black and white pixels, which look like a result.
    if not bool(torch.isfinite(update).all()):
        raise DgddError(
            f"distillation diverged: the gradient at step {step} is not finite",
            hint="a smaller rate: --set optimiser.image_rate=0.1",
        )


def _optimise(
    source: DomainDataset,
    recipe: Recipe,
    state: State,
    ipc: int,
    seed: int,
    device: torch.device,
    keep: Keep | None,
    keep_seconds: float,
    kernels: str,
    ranks: Ranks,
    progress: Progress,
) -> State:
    matching, probes, optimiser = recipe.matching, recipe.probes, recipe.optimiser
    if not (matching and probes and optimiser):
        return state  # the initialisation is the method
    state = replace(state, images=state.images.to(device), velocity=state.velocity.to(device))
    cells = describe_cells(
        state.labels.to(device), state.domains.to(device), source.counts().to(device), matching.weights
    )
    if recipe.surgery:
        gradient = surgical_gradient(matching, recipe.surgery, cells, kernels=kernels)
    else:
        gradient = pooled_gradient(matching, cells)
    rate = optimiser.image_rate * ipc / 10  # the gradient of a class mean is 1/IPC an image
    report_every = max(1, optimiser.steps // 100)
    kept = time.monotonic()
    try:
        probe_at = probe_source(
            source,
            probes,
            normalisation_of(source),
            seed=seed,
            steps=optimiser.steps,
            device=device,
            progress=progress,
            ranks=ranks,
        )
        progress("distil", state.step, optimiser.steps)
        while state.step < optimiser.steps:
            update, figures = gradient(state.images.detach().requires_grad_(), probe_at(state.step))
            velocity = optimiser.momentum * state.velocity + ranks.mean(update)
            left = 1 - state.step / optimiser.steps if optimiser.decay == "linear" else 1.0
            images = (state.images - left * rate * velocity).clamp_(0, 1)
            state = replace(state, step=state.step + 1, images=images, velocity=velocity)  # one assignment: Ctrl-C safe
            if state.step % report_every == 0 or state.step == optimiser.steps:
                _check_finite(update, state.step)
                progress("distil", state.step, optimiser.steps, {name: float(v) for name, v in figures.items()})
            if keep and state.step < optimiser.steps and time.monotonic() - kept >= keep_seconds:
                keep(state)
                kept = time.monotonic()
    except RankLost:
        if keep and state.step:
            keep(state)
        raise
    except KeyboardInterrupt as interrupt:
        if keep and state.step:
            keep(state)
        raise Interrupted(
            f"interrupted at step {state.step} of {optimiser.steps}",
            hint="the checkpoint is kept: the same command with --resume continues it" if keep and state.step else None,
        ) from interrupt
    return state
