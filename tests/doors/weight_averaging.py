"""Stochastic weight averaging (Izmailov et al. 2018) as a trainer of `evaluate`: the whole of what one has to write."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from dgdd_cli.config import Settings
from dgdd_cli.evaluation.trainers.erm import erm_loss
from dgdd_cli.evaluation.trainers.trainer import End, Parameters, Trainer


class WeightAveraging(Settings):
    """The average of the weights after each step beyond the `begin` share of all steps."""

    begin: Annotated[float, Field(ge=0, lt=1)] = 0.5


Running = tuple[int, Parameters]


def follow(
    running: Running | None, parameters: Parameters, step: int, steps: int, settings: WeightAveraging
) -> Running:
    """The mean of the weights so far, in place, and of how many."""
    count, mean = running or (0, {name: value.detach().clone() for name, value in parameters.items()})
    count += step > settings.begin * steps
    for name, value in parameters.items():
        mean[name] += (value - mean[name]) / max(count, 1)
    return count, mean


def result(running: Running, settings: WeightAveraging) -> dict[str, Tensor]:
    """The mean of the weights."""
    return running[1]


WEIGHT_AVERAGING = Trainer(erm_loss, settings=WeightAveraging, end=End(follow, result))
