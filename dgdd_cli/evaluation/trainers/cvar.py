"""The conditional value at risk of a batch: only its worst losses are trained on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from dgdd_cli.config.settings import Settings
from dgdd_cli.core import cvar
from dgdd_cli.evaluation.trainers.trainer import Batch, Parameters, Trainer
from dgdd_cli.networks import Backbone
from dgdd_cli.synthesis.labels import label_losses


class Cvar(Settings):
    """The mean over the worst `tail` share of a batch's losses; of 32 images the worst 6.4."""

    tail: Annotated[float, Field(gt=0, le=1)] = 0.2


def cvar_loss(network: Backbone, batch: Batch, own: Parameters, state: Tensor, settings: Cvar) -> tuple[Tensor, Tensor]:
    """L = CVaR_α(ℓ(f(x_i), y_i)), the mean over the worst share α = `tail` of the batch (Levy et al. 2020)."""
    return cvar(label_losses(network(batch.images), batch.labels), settings.tail), state


CVAR = Trainer(
    cvar_loss, settings=Cvar, alone="the CVaR of a batch sorts its losses, which cannot be mapped over trainings"
)
