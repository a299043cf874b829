"""The loop of a distillation: projected SGD on named tensors, reported, checkpointed, interruptible."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from dgdd_cli.errors import DgddError, Interrupted
from dgdd_cli.methods.state import Descent, State, Steps, Tensors
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.ranks import RankLost

REPORT_SECONDS = 0.5  # between two readings of figures

Keep = Callable[[State], None]


def optimise(
    context: Context,
    state: State,
    steps: Steps,
    total: int,
    *,
    descents: Mapping[str, Descent],
    project: Callable[[Tensors], Tensors],
    keep: Keep | None,
    keep_seconds: float,
) -> State:
    """Step from `state` to step `total`: every tensor by its own descent, then to the nearest that can be stored.

    `keep` is called with the last resumable state about every `keep_seconds` and when the run is interrupted, which
    raises Interrupted (Ctrl-C) or RankLost. Raises DgddError when a gradient is not finite, at the latest with the next
    figures. Nothing is read back from the device but those, about every `REPORT_SECONDS` and at the last step, and what
    is kept: the clock decides when to look, never what is computed.
    """
    report_every = max(1, total // 100)
    first, safe, kept = state.step, state, state.step
    shown: dict[str, float] | None = None
    looked_at = kept_at = time.monotonic()
    finite = torch.ones((), dtype=torch.bool, device=state.standing.device)
    sound = torch.zeros((), device=state.standing.device)  # steps before the first gradient that was not finite

    def save() -> None:
        _read(sound, {}, first, state.step)
        if keep:
            keep(safe)

    try:
        context.progress("distil", state.step, total)
        while state.step < total:
            found = steps.gradient(state.tensors, state.step, state.standing)
            gradients = {name: context.ranks.mean(own) for name, own in found.gradients.items()}
            for own in gradients.values():
                finite = finite & (own.sum() * 0 == 0)  # infinities and NaN times 0 are NaN
            sound = sound + finite
            left = 1 - state.step / total
            velocities, moved = {}, {}
            for name, how in descents.items():
                velocities[name] = how.momentum * state.velocities[name] + gradients[name]
                rate = (left if how.decay == "linear" else 1.0) * how.rate
                moved[name] = state.tensors[name] - rate * velocities[name]
            tensors = project(moved)
            standing = context.ranks.mean(found.standing) if len(found.standing) else found.standing
            # one assignment: Ctrl-C never sees half a state
            state = replace(state, step=state.step + 1, tensors=tensors, velocities=velocities, standing=standing)
            if steps.resumable(state.step):
                safe = state
            look = state.step == total or time.monotonic() - looked_at >= REPORT_SECONDS
            if look:
                shown = _read(sound, found.figures, first, state.step)
                looked_at = time.monotonic()
            if look or state.step % report_every == 0:
                context.progress("distil", state.step, total, shown)
            if keep and kept < safe.step < total and time.monotonic() - kept_at >= keep_seconds:
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
            f"interrupted at step {state.step} of {total}",
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
