"""Mixup (Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", equation 1)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from dgdd_cli.config.settings import Settings
from dgdd_cli.evaluation.trainers.beta import beta_draws
from dgdd_cli.evaluation.trainers.trainer import Batch, Draws, Parameters, Trainer
from dgdd_cli.networks import Backbone
from dgdd_cli.synthesis.labels import label_losses


class Mixup(Settings):
    """Mixup (Zhang et al. 2018): λ ~ Beta(`alpha`, `alpha`), one a batch."""

    alpha: Annotated[float, Field(gt=0, le=1)] = 0.2


def draw(count: int, settings: Mixup, generator: torch.Generator) -> Draws:
    """λ float32 () and a permutation of the batch, int64 (B,)."""
    return beta_draws(settings.alpha, 1, generator)[0], torch.randperm(count, generator=generator)


def mixup_loss(
    network: Backbone, batch: Batch, own: Parameters, state: Tensor, settings: Mixup
) -> tuple[Tensor, Tensor]:
    """L = mean λ ℓ(f(x̃), y) + (1 − λ) ℓ(f(x̃), y_π) on x̃ = λ x + (1 − λ) x_π."""
    images, labels, _, (share, order) = batch
    logits = network(share * images + (1 - share) * images[order])
    own_losses, other_losses = (label_losses(logits, taught).mean() for taught in (labels, labels.at(order)))
    return share * own_losses + (1 - share) * other_losses, state


MIXUP = Trainer(mixup_loss, settings=Mixup, draw=draw)
