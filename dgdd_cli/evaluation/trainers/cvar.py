"""The conditional value at risk of a batch: only its worst losses are trained on."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dgdd_cli.config.protocol import Cvar
from dgdd_cli.core import cvar
from dgdd_cli.evaluation.trainers.trainer import Draws, Trainer
from dgdd_cli.networks import Network


def cvar_loss(
    network: Network, images: Tensor, labels: Tensor, domains: Tensor, draws: Draws, state: Tensor, settings: Cvar
) -> tuple[Tensor, Tensor]:
    """L = CVaR_α(CE(f(x_i), y_i)), the mean over the worst share α = `tail` of the batch (Levy et al. 2020)."""
    losses = F.cross_entropy(network(images), labels, reduction="none")  # (B,)
    return cvar(losses, settings.tail), state


CVAR = Trainer(cvar_loss, alone="the CVaR of a batch sorts its losses, which cannot be mapped over trainings")
