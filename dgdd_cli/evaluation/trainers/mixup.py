"""Mixup (Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dgdd_cli.config.protocol import Mixup
from dgdd_cli.evaluation.trainers.beta import beta_draws
from dgdd_cli.evaluation.trainers.trainer import Draws, Trainer
from dgdd_cli.networks import Network


def draw(count: int, settings: Mixup, generator: torch.Generator) -> Draws:
    """λ float32 () and a permutation of the batch, int64 (B,)."""
    return beta_draws(settings.alpha, 1, generator)[0], torch.randperm(count, generator=generator)


def mixup_loss(
    network: Network, images: Tensor, labels: Tensor, domains: Tensor, draws: Draws, state: Tensor, settings: Mixup
) -> tuple[Tensor, Tensor]:
    """L = λ CE(f(x̃), y) + (1 − λ) CE(f(x̃), y_π) on x̃ = λ x + (1 − λ) x_π."""
    share, order = draws
    logits = network(share * images + (1 - share) * images[order])
    return share * F.cross_entropy(logits, labels) + (1 - share) * F.cross_entropy(logits, labels[order]), state


MIXUP = Trainer(mixup_loss, draw=draw)
