"""The seconds of a step inside the real distillation loop, whatever the method; of two loops in turns, to compare."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from measure import wait_for

from dgdd_cli.config import Recipe
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.engine.distill import distill
from dgdd_cli.methods.state import State
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import given
from dgdd_cli.runtime.precision import computing_in

BANK = 6  # one probe of each augmentation on average, so that a cheap operation does not stand for all
STEPS = 1000  # the run pretends to be as long: the loop reports every hundredth of its steps, figures by the clock


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
    """Time a complete recipe through the library's `distill`, over `rounds` turns after one that is not counted."""
    moments: list[float] = []
    bank = run_turns(source, recipe, lambda: moments.append(time.perf_counter()), ipc, rounds, device, **settings)
    turns = [after - before for before, after in itertools.pairwise(moments)]
    probe = (bank[-1] - bank[0]) / (len(bank) - 1) if len(bank) > 1 else None
    return Timed(statistics.median(turns) / turn_of(recipe), probe)


def run_turns(
    source: DomainDataset,
    recipe: Recipe,
    ended: Callable[[], None],
    ipc: int,
    rounds: int,
    device: torch.device,
    **settings: Any,
) -> list[float]:
    """Distil for `rounds` + 1 turns and say when each has `ended`; the moments at which the bank grew.

    A turn is each probe of a small bank once; in gradient matching the life of a network, with its training.
    """
    assert recipe.optimiser
    changed: dict[str, Any] = {"optimiser": recipe.optimiser.model_copy(update={"steps": STEPS})}
    if recipe.probes and recipe.probes.bank_size:
        changed["probes"] = recipe.probes.model_copy(update={"source": f"bank:{BANK}"})
    bank: list[float] = []

    def keep(state: State) -> None:
        if state.step % turn_of(recipe) == 0:
            wait_for(device)
            ended()
            if state.step == (rounds + 1) * turn_of(recipe):
                raise Enough

    def progress(stage: str, done: int, total: int, figures: dict[str, float] | None = None) -> None:
        if stage == "probe bank":
            wait_for(device)
            bank.append(time.perf_counter())

    try:
        distill(
            Context(seed=0, chosen=given(device), progress=progress),
            source,
            recipe.model_copy(update=changed),
            ipc=ipc,
            keep=keep,
            keep_seconds=0,
            **settings,
        )
    except Enough:
        return bank
    raise AssertionError(f"{STEPS} steps are too few for {rounds} turns of {turn_of(recipe)}")


def turn_of(recipe: Recipe) -> int:
    """The steps of a turn."""
    return recipe.trajectory.length if recipe.trajectory else BANK


def in_turns(works: Sequence[Callable[[Callable[[], None]], object]]) -> list[list[float]]:
    """Run works side by side, one turn of one at a time: seconds of the turns of each, but its first.

    Each calls what it is given at the end of every turn, and goes on when the others have had theirs. A machine whose
    speed changes within seconds then slows all of them alike. All compute in float32: precision is the process's.
    """
    batons = [threading.Semaphore(0) for _ in works]
    seconds: list[list[float]] = [[] for _ in works]
    over: set[int] = set()  # read and written by the holder of the baton alone

    def pass_on(own: int) -> bool:
        others = [other % len(works) for other in range(own + 1, own + len(works))]
        heir = next((other for other in others if other not in over), None)
        if heir is not None:
            batons[heir].release()
        return heir is not None

    def run(own: int) -> None:
        began: float | None = None

        def ended() -> None:
            nonlocal began
            if began is not None:
                seconds[own].append(time.perf_counter() - began)
            if pass_on(own):
                batons[own].acquire()
            began = time.perf_counter()

        batons[own].acquire()
        try:
            works[own](ended)
        finally:
            over.add(own)
            pass_on(own)

    with computing_in("float32", torch.device("cpu")), ThreadPoolExecutor(len(works)) as pool:
        batons[0].release()
        for done in [pool.submit(run, own) for own in range(len(works))]:
            done.result()
    return seconds
