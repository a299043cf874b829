"""The loop of a distillation: projected SGD on the pixels, reported, checkpointed, interruptible."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dgdd_cli.config import Optimiser
from dgdd_cli.engine.checkpoint import State
from dgdd_cli.engine.ranks import ALONE, RankLost, Ranks
from dgdd_cli.engine.step import Stepped
from dgdd_cli.errors import DgddError, Interrupted
from dgdd_cli.progress import Progress

Keep = Callable[[State], None]


@dataclass(frozen=True, slots=True)
class Steps:
    """The gradient of a step (images, number, standing), and where a run can be taken up again."""

    gradient: Callable[[Tensor, int, Tensor], Stepped]
    resumable: Callable[[int], bool] = lambda step: True


def optimise(
    state: State,
    steps: Steps,
    optimiser: Optimiser,
    *,
    rate: float,
    keep: Keep | None,
    keep_seconds: float,
    ranks: Ranks = ALONE,
    progress: Progress,
) -> State:
    """Step from `state` to the last step: images ← clip(images − rate_t · velocity, 0, 1).

    `keep` is called with the last resumable state about every `keep_seconds` and when the run is interrupted, which
    raises Interrupted (Ctrl-C) or RankLost. Raises DgddError when a gradient is not finite. Nothing is read back from
    the device but at reports, every hundredth of the steps.
    """
    report_every = max(1, optimiser.steps // 100)
    safe, kept, kept_at = state, state.step, time.monotonic()
    try:
        progress("distil", state.step, optimiser.steps)
        while state.step < optimiser.steps:
            found = steps.gradient(state.images.detach().requires_grad_(), state.step, state.standing)
            velocity = optimiser.momentum * state.velocity + ranks.mean(found.update)
            left = 1 - state.step / optimiser.steps if optimiser.decay == "linear" else 1.0
            images = (state.images - left * rate * velocity).clamp_(0, 1)
            standing = ranks.mean(found.standing) if len(found.standing) else found.standing
            # one assignment: Ctrl-C never sees half a state
            state = replace(state, step=state.step + 1, images=images, velocity=velocity, standing=standing)
            if steps.resumable(state.step):
                safe = state
            if state.step % report_every == 0 or state.step == optimiser.steps:
                _check_finite(found.update, state.step)
                progress("distil", state.step, optimiser.steps, {name: float(v) for name, v in found.figures.items()})
            due = time.monotonic() - kept_at >= keep_seconds
            if keep and due and kept < safe.step < optimiser.steps:
                keep(safe)
                kept, kept_at = safe.step, time.monotonic()
    except RankLost:
        if keep and safe.step > kept:
            keep(safe)
        raise
    except KeyboardInterrupt as interrupt:
        if keep and safe.step > kept:
            keep(safe)
        raise Interrupted(
            f"interrupted at step {state.step} of {optimiser.steps}",
            hint="the checkpoint is kept: the same command with --resume continues it" if keep and safe.step else None,
        ) from interrupt
    return state


def _check_finite(update: Tensor, step: int) -> None:
    # Clamping turns an infinite step into black and white pixels, which look like a result.
    if not bool(torch.isfinite(update).all()):
        raise DgddError(
            f"distillation diverged: the gradient at step {step} is not finite",
            hint="a smaller rate: --set optimiser.image_rate=0.1",
        )
