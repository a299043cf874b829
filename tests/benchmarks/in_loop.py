"""The seconds of a step inside the real distillation loop, whatever the method."""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from measure import wait_for

from dgdd_cli.config import Recipe
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.engine.checkpoint import State
from dgdd_cli.engine.distill import distill

BANK = 6  # one probe of each augmentation on average, so that a cheap operation does not stand for all
STEPS = 1000  # the run pretends to be as long, because the loop reports every hundredth of its steps


@dataclass(frozen=True, slots=True)
class Timed:
    """Median seconds of a step over the turns, and the mean seconds of a probe of the bank (None without a bank)."""

    step: float
    probe: float | None


class Enough(Exception):
    """Ends the loop."""


def step_seconds(
    source: DomainDataset, recipe: Recipe, *, ipc: int, rounds: int, device: torch.device, **settings: Any
) -> Timed:
    """Time a complete recipe through the library's `distill`, over `rounds` turns after one that is not counted.

    A turn is each probe of a small bank once; in gradient matching the life of a network, with its training.
    """
    assert recipe.optimiser
    changed: dict[str, Any] = {"optimiser": recipe.optimiser.model_copy(update={"steps": STEPS})}
    if recipe.probes and recipe.probes.bank_size:
        changed["probes"] = recipe.probes.model_copy(update={"source": f"bank:{BANK}"})
    turn = recipe.trajectory.length if recipe.trajectory else BANK
    moments: list[float] = []
    bank: list[float] = []

    def keep(state: State) -> None:
        if state.step % turn == 0:
            wait_for(device)
            moments.append(time.perf_counter())
            if len(moments) == rounds + 1:
                raise Enough

    def progress(stage: str, done: int, total: int, figures: dict[str, float] | None = None) -> None:
        if stage == "probe bank":
            wait_for(device)
            bank.append(time.perf_counter())

    try:
        distill(
            source,
            recipe.model_copy(update=changed),
            ipc=ipc,
            seed=0,
            device=device,
            keep=keep,
            keep_seconds=0,
            progress=progress,
            **settings,
        )
    except Enough:
        turns = [after - before for before, after in itertools.pairwise(moments)]
        probe = (bank[-1] - bank[0]) / (len(bank) - 1) if len(bank) > 1 else None
        return Timed(statistics.median(turns) / turn, probe)
    raise AssertionError(f"{STEPS} steps are too few for {rounds} turns of {turn}")
