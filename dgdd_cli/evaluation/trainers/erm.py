"""Empirical risk minimisation: the mean cross-entropy."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from dgdd_cli.evaluation.trainers.trainer import Draws, Trainer
from dgdd_cli.networks import Network


def erm_loss(
    network: Network, images: Tensor, labels: Tensor, domains: Tensor, draws: Draws, state: Tensor, settings: Any
) -> tuple[Tensor, Tensor]:
    """L = mean_i CE(f(x_i), y_i)."""
    return F.cross_entropy(network(images), labels), state


ERM = Trainer(erm_loss)
