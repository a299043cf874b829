"""Progress for eyes and for logs: one live bar on a terminal, one line every tenth of a stage elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from dgdd_cli.cli.text import plain
from dgdd_cli.progress import Progress

Clock = Callable[[], float]


class Meter:
    """Units per second over the latest half of a stage, so that a slow start does not spoil the forecast.

    The first report only sets the origin: a resumed stage that begins at unit 900 is not taken for a fast one.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._start = 0.0
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, done: int) -> None:
        """Record that `done` units are complete now."""
        now = self._clock()
        if not self._samples:
            self._start = now
        self._samples.append((now, done))
        half = self._start + (now - self._start) / 2
        while len(self._samples) > 2 and self._samples[1][0] <= half:
            self._samples.popleft()

    def rate(self) -> float | None:
        """Units per second, or None while there is nothing to divide."""
        if len(self._samples) < 2:
            return None
        (earlier, before), (later, after) = self._samples[0], self._samples[-1]
        return (after - before) / (later - earlier) if later > earlier and after > before else None

    def describe(self, total: int, figures: Mapping[str, float] | None) -> str:
        """Rate, time left and figures in words; what is unknown is left out."""
        rate, parts = self.rate(), []
        if rate:
            parts.append(f"{rate:.3g} it/s" if rate < 100 else f"{rate:.0f} it/s")
            left = total - self._samples[-1][1]
            parts += [f"ETA {_clock_face(left / rate)}"] if left > 0 else []
        parts += [f"{plain(name)} {value:.4g}" for name, value in (figures or {}).items()]
        return "  ".join(parts)


def plain_lines(write: Callable[[str], None], clock: Clock = time.monotonic) -> Progress:
    """Report by writing one line whenever a stage has passed another tenth."""
    current, meter, written = "", Meter(clock), 0

    def report(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        nonlocal current, meter, written
        tenth = 10 * done // total if total > 0 else 10
        if stage != current:
            current, meter, written = stage, Meter(clock), 0
        meter.add(done)
        if tenth > written:
            written = tenth
            share = 100 * done // total if total > 0 else 100
            write(f"{stage}  {share:3d} %  {done}/{total}  {meter.describe(total, figures)}".rstrip())

    return report


@contextmanager
def bar(console: Console, clock: Clock = time.monotonic) -> Iterator[Progress]:
    """Report in one bar that is redrawn in place; each new stage takes the place of the one before."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}", markup=False),
    )
    with Bar(*columns, console=console, redirect_stdout=False) as live:
        current, meter, task = "", Meter(clock), None

        def report(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
            nonlocal current, meter, task
            if task is None or stage != current:
                if task is not None:
                    live.remove_task(task)
                current, meter, task = stage, Meter(clock), live.add_task(plain(stage), total=total, said="")
            meter.add(done)
            said = f"{done}/{total}  {meter.describe(total, figures)}".rstrip()
            live.update(task, completed=done, total=total, said=said)

        yield report


def _clock_face(seconds: float) -> str:
    """Seconds as 0:07, 12:30 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
