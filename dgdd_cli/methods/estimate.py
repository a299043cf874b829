"""What a distillation takes, before it starts: its memory, its time by a small pass, and what would fit."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from dgdd_cli.config import Probes, Recipe
from dgdd_cli.data.held import resident_bytes
from dgdd_cli.methods import method_of
from dgdd_cli.methods.memory import (
    Sizes,
    bank_bytes,
    compute_dtype,
    images_seen,
    network_bytes,
    tensor_peaks,
)
from dgdd_cli.networks.pace import seconds_an_image
from dgdd_cli.probes.source import VIEWS_KEPT
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.estimate import Estimate, Option, duration, each, halves, in_use, require_room, sentence
from dgdd_cli.runtime.memory import free_memory_bytes
from dgdd_cli.text import plural

log = logging.getLogger("dgdd")


def announce(context: Context, recipe: Recipe, sizes: Sizes, *, done: int) -> None:
    """Say what the steps after `done` will take. Raises UsageError where the device has no room for it."""
    require_room_to_distill(recipe, sizes, context.device)
    if estimate := estimate_distill(recipe, sizes, context.device, done=done, ranks=context.ranks.size):
        log.info(sentence(estimate, context.device))


def require_room_to_distill(recipe: Recipe, sizes: Sizes, device: torch.device) -> None:
    """Raise UsageError, with options that would fit, for a run that the free memory of the device cannot hold."""
    require_room(bytes_needed(recipe, sizes, device), device, _smaller(recipe, sizes, device))


def estimate_distill(
    recipe: Recipe, sizes: Sizes, device: torch.device, *, done: int = 0, ranks: int = 1
) -> Estimate | None:
    """What is left of a run after `done` steps; None for a method that makes no steps."""
    probes, matching, optimiser = recipe.probes, recipe.matching, recipe.optimiser
    if probes is None or matching is None or optimiser is None:
        return None
    steps, needed = optimiser.steps - done, bytes_needed(recipe, sizes, device)
    if method_of(matching).trains:
        step = _gradient_step_seconds(recipe, probes, sizes, device)
        return Estimate(needed, steps * step, f"{plural(steps, 'step')} of {each(step)}")
    forward = _seconds(probes, sizes, device, backward=False)
    products = sizes.domains + 1 if recipe.surgery else 1
    step = sizes.synthetic * (forward + products * max(0.0, _seconds(probes, sizes, device, backward=True) - forward))
    looked_at = images_seen(recipe, probes, sizes)
    if probes.bank_size is None:
        step += looked_at * forward
        return Estimate(needed, steps * step, f"{plural(steps, 'step')} of {each(step)}")
    held = math.ceil(min(probes.bank_size, optimiser.steps * ranks) / ranks)
    bank = held * looked_at * forward
    work = f"{plural(steps, 'step')} of {each(step)}, a bank of {plural(held, 'probe')} in {duration(bank)}"
    return Estimate(needed, bank + steps * step, f"{work} unless it is kept")


def bytes_needed(recipe: Recipe, sizes: Sizes, device: torch.device) -> int:
    """Bytes of the device beside what is taken now. A bank that would fill half of what is free goes to the disk."""
    probes, free = recipe.probes, free_memory_bytes(device)
    bank = bank_bytes(recipe, sizes)
    kept = 0 if free is not None and 2 * bank > free else bank
    if bank and probes and probes.bank_size:
        kept += min(probes.bank_size, VIEWS_KEPT) * network_bytes(probes, sizes)
    source = resident_bytes([sizes.images * sizes.pixels], device)
    return in_use(max(tensor_peaks(recipe, sizes)), device) + kept + source


def _smaller(recipe: Recipe, sizes: Sizes, device: torch.device) -> Iterator[list[Option]]:
    """Ways to take less, each from a little less on."""
    smaller = (sizes.image_size * quarters // 4 // 8 * 8 for quarters in (3, 2, 1))
    yield [
        (f"--image-size {size}", bytes_needed(recipe, replace(sizes, image_size=size), device))
        for size in smaller
        if size >= 8
    ]
    yield [(f"--ipc {ipc}", bytes_needed(recipe, replace(sizes, ipc=ipc), device)) for ipc in halves(sizes.ipc, 1)]
    probes = recipe.probes or Probes()
    yield [
        (
            f"--set probes.width={width}",
            bytes_needed(
                recipe.model_copy(update={"probes": probes.model_copy(update={"width": width})}), sizes, device
            ),
        )
        for width in halves(probes.width, 8)
    ]


def _gradient_step_seconds(recipe: Recipe, probes: Probes, sizes: Sizes, device: torch.device) -> float:
    """A second derivative is counted as three passes."""
    passed = sizes.classes * min(probes.batch, sizes.images) + 3 * sizes.synthetic
    if recipe.trajectory:
        batch = recipe.trajectory.batch
        passed += recipe.trajectory.inner * (
            min(batch, sizes.synthetic) if recipe.trajectory.data == "synthetic" else batch
        )
    return passed * seconds_an_image(
        probes.network, "weights", image_size=sizes.image_size, width=probes.width, device=device
    )


def _seconds(probes: Probes, sizes: Sizes, device: torch.device, *, backward: bool) -> float:
    return seconds_an_image(
        probes.network,
        "pixels" if backward else "forward",
        image_size=sizes.image_size,
        width=probes.width,
        device=device,
        dtype=compute_dtype(probes),
    )
