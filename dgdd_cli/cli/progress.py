"""Progress for eyes and for logs: one live bar on a terminal, one line every tenth of a stage elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from dgdd_cli.cli.text import plain
from dgdd_cli.progress import Progress

Clock = Callable[[], float]
PERIOD = 3600  # seconds that a rate is taken over; rich leaves the first unit out, and with it a slow start


class _Pace(ProgressColumn):
    """Rate, time left and figures in words; what is unknown is left out."""

    def render(self, task: Task) -> Text:
        return Text(pace(task))


def pace(task: Task) -> str:
    """Units per second, time left and figures of a task; a resumed one that begins at unit 900 is not fast."""
    said, rate, left = [], task.speed, task.time_remaining
    if rate:
        said.append(f"{rate:.3g} it/s" if rate < 100 else f"{rate:.0f} it/s")
        said += [f"ETA {timedelta(seconds=round(left))}"] if left else []
    figures: Mapping[str, float] = task.fields.get("figures") or {}
    return "  ".join([*said, *(f"{plain(name)} {value:.4g}" for name, value in figures.items())])


def plain_lines(write: Callable[[str], None], clock: Clock = time.monotonic) -> Progress:
    """Report by writing one line whenever a stage has passed another tenth."""
    stages = Bar(disable=True, get_time=clock, speed_estimate_period=PERIOD)
    current, written = None, 0

    def report(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        nonlocal current, written
        tenth = 10 * done // total if total > 0 else 10
        current, fresh = _staged(stages, current, stage, done, total, figures)
        written = 0 if fresh else written
        if tenth > written:
            written = tenth
            share = 100 * done // total if total > 0 else 100
            write(f"{stage}  {share:3d} %  {done}/{total}  {pace(stages.tasks[0])}".rstrip())

    return report


@contextmanager
def bar(console: Console, clock: Clock = time.monotonic) -> Iterator[Progress]:
    """Report in one bar that is redrawn in place; each new stage takes the place of the one before."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn(), _Pace()
    live = Bar(*columns, console=console, redirect_stdout=False, get_time=clock, speed_estimate_period=PERIOD)
    with live:
        current = None

        def report(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
            nonlocal current
            current, _ = _staged(live, current, stage, done, total, figures)

        yield report


def _staged(
    bar: Bar, current: str | None, stage: str, done: int, total: int, figures: Mapping[str, float] | None
) -> tuple[str, bool]:
    """Bring the one task of a bar up to date, a new one for a new stage; the stage, and whether it is new."""
    if fresh := stage != current:
        for task in list(bar.task_ids):
            bar.remove_task(task)
        bar.add_task(plain(stage), total=total, completed=done, figures=figures)
    else:
        bar.update(bar.task_ids[0], completed=done, total=total, figures=figures)
    return stage, fresh
