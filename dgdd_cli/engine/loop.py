"""The loop of a distillation: projected SGD on the pixels, reported, checkpointed, interruptible."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from dgdd_cli.config import Optimiser
from dgdd_cli.errors import DgddError, Interrupted
from dgdd_cli.methods.state import State, Steps
from dgdd_cli.progress import Progress
from dgdd_cli.runtime.ranks import ALONE, RankLost, Ranks

REPORT_SECONDS = 0.5  # between two readings of figures

Keep = Callable[[State], None]


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
    raises Interrupted (Ctrl-C) or RankLost. Raises DgddError when a gradient is not finite, at the latest with the next
    figures. Nothing is read back from the device but those, about every `REPORT_SECONDS` and at the last step, and what
    is kept: the clock decides when to look, never what is computed.
    """
    report_every = max(1, optimiser.steps // 100)
    first, safe, kept = state.step, state, state.step
    shown: dict[str, float] | None = None
    looked_at = kept_at = time.monotonic()
    finite = torch.ones((), dtype=torch.bool, device=state.images.device)
    sound = torch.zeros((), device=state.images.device)  # steps before the first gradient that was not finite

    def save() -> None:
        _read(sound, {}, first, state.step)
        if keep:
            keep(safe)

    try:
        progress("distil", state.step, optimiser.steps)
        while state.step < optimiser.steps:
            found = steps.gradient(state.images.detach().requires_grad_(), state.step, state.standing)
            update = ranks.mean(found.update)
            finite = finite & (update.sum() * 0 == 0)  # infinities and NaN times 0 are NaN
            sound = sound + finite
            velocity = optimiser.momentum * state.velocity + update
            left = 1 - state.step / optimiser.steps if optimiser.decay == "linear" else 1.0
            images = (state.images - left * rate * velocity).clamp_(0, 1)
            standing = ranks.mean(found.standing) if len(found.standing) else found.standing
            # one assignment: Ctrl-C never sees half a state
            state = replace(state, step=state.step + 1, images=images, velocity=velocity, standing=standing)
            if steps.resumable(state.step):
                safe = state
            look = state.step == optimiser.steps or time.monotonic() - looked_at >= REPORT_SECONDS
            if look:
                shown = _read(sound, found.figures, first, state.step)
                looked_at = time.monotonic()
            if look or state.step % report_every == 0:
                progress("distil", state.step, optimiser.steps, shown)
            if keep and kept < safe.step < optimiser.steps and time.monotonic() - kept_at >= keep_seconds:
                save()
                kept, kept_at = safe.step, time.monotonic()
    except RankLost:
        if safe.step > kept:
            save()
        raise
    except KeyboardInterrupt as interrupt:
        if safe.step > kept:
            save()
        raise Interrupted(
            f"interrupted at step {state.step} of {optimiser.steps}",
            hint="the checkpoint is kept: the same command with --resume continues it" if keep and safe.step else None,
        ) from interrupt
    return state


def _read(sound: Tensor, figures: Mapping[str, Tensor], first: int, step: int) -> dict[str, float]:
    """The figures on the host, in one reading; raises DgddError if a gradient from step `first` on was not finite."""
    count, *values = torch.stack([sound, *(value.to(sound.dtype) for value in figures.values())]).tolist()
    # Clamping turns an infinite step into black and white pixels, which look like a result.
    if first + int(count) < step:
        raise DgddError(
            f"distillation diverged: the gradient at step {first + int(count) + 1} is not finite",
            hint="a smaller rate: --set optimiser.image_rate=0.1",
        )
    return dict(zip(figures, values, strict=True))
