"""The loop over steps: what it reads back from the device, and when."""

from __future__ import annotations

import pytest
import torch

from dgdd_cli.engine import loop
from dgdd_cli.engine.loop import optimise
from dgdd_cli.errors import DgddError, Interrupted
from dgdd_cli.methods.state import Descent, State, Stepped, Steps
from dgdd_cli.progress import silent
from dgdd_cli.runtime.context import Context
from dgdd_cli.synthesis.pixels import Pixels

IMAGES = torch.full((2, 3, 4, 4), 0.5)
LABELS = torch.arange(2)


def run(
    steps: int,
    *,
    bad: dict[int, float] | None = None,
    progress=silent,
    keep=None,
    keep_seconds: float = 0.0,
    start: int = 0,
):
    """A loop whose gradient is 0 but for what `bad` says of a step; figures count the steps."""

    def gradient(tensors, number, standing):
        update = torch.zeros_like(tensors["images"])
        if bad and number in bad:
            update[1, 2, 3, 0] = bad[number]
        return Stepped(
            {"images": update}, standing, {"loss": torch.tensor(float(number)), "agreement": torch.tensor(0.5)}
        )

    state = State(start, {"images": IMAGES}, {"images": torch.zeros_like(IMAGES)}, LABELS, LABELS, torch.zeros(0))
    return optimise(
        Context(progress=progress),
        state,
        Steps(gradient),
        steps,
        descents={"images": Descent(0.1, decay="linear")},
        project=Pixels().project,
        keep=keep,
        keep_seconds=keep_seconds,
    )


def test_nothing_is_read_back_before_it_is_shown(dispatched, monkeypatch):
    """Whatever the number of steps: two figures and the check, once, at the end."""
    monkeypatch.setattr(loop, "REPORT_SECONDS", float("inf"))
    for steps in (5, 400):
        with dispatched() as seen:
            run(steps)
        assert seen.calls["_local_scalar_dense"] <= 3


def test_figures_are_those_of_the_latest_look(monkeypatch):
    """Reports come all hundredths and at looks, figures from looks alone."""
    now = iter(range(10_000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(loop, "REPORT_SECONDS", 3)
    seen = []
    run(200, progress=lambda stage, done, total, figures=None: seen.append((done, figures and figures["loss"])))
    assert {done for done, _ in seen} >= set(range(2, 201, 2))
    assert seen[:3] == [(0, None), (2, None), (3, 2.0)]
    assert seen[-1] == (200, 199.0)
    assert all(loss is None or loss < done for done, loss in seen)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("start", [0, 7])
def test_a_gradient_that_is_not_finite_is_found_by_its_step(value, start, monkeypatch):
    """However late it is looked for, and although the images look sound again."""
    monkeypatch.setattr(loop, "REPORT_SECONDS", float("inf"))
    with pytest.raises(DgddError, match="the gradient at step 10 is not finite"):
        run(50, bad={9: value, 20: value}, start=start)


def test_what_diverged_is_not_kept(monkeypatch):
    monkeypatch.setattr(loop, "REPORT_SECONDS", float("inf"))
    kept = []
    with pytest.raises(DgddError, match="step 4 is not finite"):
        run(50, bad={3: float("inf")}, keep=kept.append)
    assert [state.step for state in kept] == [1, 2, 3]

    def interrupt(stage, done, total, figures=None):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(DgddError, match="step 4 is not finite") as stopped:
        run(50, bad={3: float("inf")}, keep=kept.append, keep_seconds=1e9, progress=interrupt)
    assert not isinstance(stopped.value, Interrupted)
    assert len(kept) == 3
