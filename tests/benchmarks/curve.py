"""Accuracy over the wall seconds of a distillation, with a clock that stops while an image set is judged."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import torch
from measure import wait_for
from torch import Tensor

Judge = Callable[[Tensor], float]  # images in [0, 1] to accuracy
Points = list[tuple[float, float]]  # (seconds, accuracy), in the order of time


def on_the_clock(
    initial: Tensor, moments: Sequence[float], device: torch.device, judge: Judge
) -> tuple[Callable[..., bool], Points]:
    """A function to call with the images after each step, False after the last moment, and the points it takes."""
    points: Points = []
    due = list(moments)
    worth = judge(initial)
    stopped = time.perf_counter()  # what the clock does not count: until now, and later each judgement

    def look(images: Tensor, *, last: bool = False) -> bool:
        nonlocal stopped
        if points and not last and (not due or time.perf_counter() - stopped < due[0]):
            return bool(due)
        wait_for(device)
        seconds = time.perf_counter() - stopped
        points.append((seconds, judge(images) if points else worth))
        if len(points) > 1:
            due[:] = [moment for moment in due if moment > seconds]
        stopped = time.perf_counter() - seconds
        return bool(due)

    return look, points


def seconds_to(accuracy: float, points: Points) -> float | None:
    """When the curve first reaches an accuracy, by linear interpolation: 0 if it starts there, None if never."""
    if points[0][1] >= accuracy:
        return 0.0
    for (before, low), (after, high) in itertools.pairwise(points):
        if high >= accuracy:
            return before + (after - before) * (accuracy - low) / (high - low)
    return None
