"""Empirical risk minimisation: the mean loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dgdd_cli.evaluation.trainers.trainer import Batch, Parameters, Trainer
from dgdd_cli.networks import Backbone
from dgdd_cli.synthesis.labels import label_losses


def erm_loss(network: Backbone, batch: Batch, own: Parameters, state: Tensor, settings: Any) -> tuple[Tensor, Tensor]:
    """L = mean_i ℓ(f(x_i), y_i), the cross-entropy for hard labels."""
    return label_losses(network(batch.images), batch.labels).mean(), state


ERM = Trainer(erm_loss)
