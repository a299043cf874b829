"""Group DRO over the domains of the training images (Sagawa et al. 2020, algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from dgdd_cli.config.settings import Positive, Settings
from dgdd_cli.evaluation.trainers.trainer import Batch, Parameters, Trainer
from dgdd_cli.networks import Backbone
from dgdd_cli.synthesis.labels import label_losses


class GroupDro(Settings):
    """Group DRO (Sagawa et al. 2020): `rate` η of the exponentiated weights of the domains."""

    rate: Positive = 0.01


def start(domains: Tensor, num_domains: int) -> Tensor:
    """log q, q equal for the groups that the training set has, float32 (D + 1,); the last one is of no domain."""
    groups = torch.arange(num_domains + 1, device=domains.device)
    here = (_groups(domains, num_domains)[:, None] == groups).any(0)
    return (here.float() / here.sum()).log()


def groupdro_loss(
    network: Backbone, batch: Batch, own: Parameters, state: Tensor, settings: GroupDro
) -> tuple[Tensor, Tensor]:
    """L = Σ_g q_g ℓ_g after q_g ← q_g exp(η ℓ_g) / Σ_h, with ℓ_g the mean loss of group g in the batch.

    A group without an image in the batch keeps its q up to the common factor and adds no loss.
    """
    losses = label_losses(network(batch.images), batch.labels)  # (B,)
    groups = _groups(batch.domains, len(state) - 1)
    member = (groups[:, None] == torch.arange(len(state), device=groups.device)).to(losses.dtype)  # (B, G)
    # (G,), 0 where absent; no matrix product, which would be rounded under autocast
    of_groups = (losses[:, None] * member).sum(0) / member.sum(0).clamp(min=1)
    logs = (state + settings.rate * of_groups.detach()).log_softmax(0)  # in logarithms no weight is lost for good
    return (logs.exp() * of_groups).sum(), logs


def _groups(domains: Tensor, num_domains: int) -> Tensor:
    return torch.where(domains < 0, num_domains, domains)


GROUPDRO = Trainer(groupdro_loss, settings=GroupDro, start=start, needs_domains=True)
