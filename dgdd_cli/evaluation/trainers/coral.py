"""Deep CORAL between the domains of a batch (Sun & Saenko 2016; in the form of DomainBed, means included)."""

from __future__ import annotations

import torch
from torch import Tensor

from dgdd_cli.config.settings import Positive, Settings
from dgdd_cli.evaluation.trainers.trainer import Batch, Parameters, Trainer
from dgdd_cli.networks import Backbone
from dgdd_cli.synthesis.labels import label_losses


class Coral(Settings):
    """Deep CORAL (Sun & Saenko 2016) between domains: `weight` of the penalty beside the loss of the labels."""

    weight: Positive = 1.0


def start(domains: Tensor, num_domains: int) -> Tensor:
    """Nothing but the number of domains, as the length of an empty row: (0, D)."""
    return torch.empty(0, num_domains)


def coral_loss(
    network: Backbone, batch: Batch, own: Parameters, state: Tensor, settings: Coral
) -> tuple[Tensor, Tensor]:
    """L = mean ℓ + w · mean over pairs of domains of (mean (μ_i − μ_j)² + mean (C_i − C_j)²), μ and C of the features.

    A domain with fewer than two images in the batch has no covariance and is in no pair.
    """
    features = network.features(batch.images)  # (B, F)
    loss = label_losses(network.classifier(features), batch.labels).mean()
    with torch.autocast(features.device.type, enabled=False):  # differences of covariances survive no rounding
        penalty = coral_penalty(features.float(), batch.domains, state.shape[-1])
    return loss + settings.weight * penalty, state


def coral_penalty(features: Tensor, domains: Tensor, num_domains: int) -> Tensor:
    """The mean over pairs of domains of mean (μ_i − μ_j)² + mean (C_i − C_j)², a scalar; 0 without a pair.

    features (B, F), domains int64 (B,) in [-1, D). The covariances (F, F) are never formed:
    ‖C_i − C_j‖² = q_ii + q_jj − 2 q_ij with q_ij = tr(C_i C_j), sums of squares of the Gram matrix (B, B).
    """
    member = (domains[:, None] == torch.arange(num_domains, device=domains.device)).to(features.dtype)  # (B, D)
    counts = member.sum(0)  # (D,)
    means = (member.T @ features) / counts.clamp(min=1)[:, None]  # (D, F)
    scale = member @ (counts - 1).clamp(min=1).rsqrt()  # (B,): 1/√(n_d − 1), 0 outside the domains
    centred = (features - member @ means) * scale[:, None]
    traces = member.T @ (centred @ centred.T).square() @ member  # (D, D)
    of_covariances = traces.diagonal()[:, None] + traces.diagonal()[None] - 2 * traces
    of_means = (means[:, None] - means[None]).square().mean(2)  # (D, D)
    known = (counts >= 2).to(features.dtype)
    pairs = (known[:, None] * known[None]).triu(1)
    width = features.shape[1]
    return ((of_means + of_covariances / width**2) * pairs).sum() / pairs.sum().clamp(min=1)


CORAL = Trainer(coral_loss, settings=Coral, start=start, needs_domains=True)
