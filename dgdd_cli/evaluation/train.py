"""Training a network on a small labelled image set: the `dm` protocol (Zhao & Bilen 2023, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dgdd_cli.augment import draw
from dgdd_cli.config import Protocol
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.synthesis.pixels import normalise, to_unit

EVALUATION_BATCH = 256


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    protocol: Protocol,
    normalisation: Normalisation,
    generator: torch.Generator,
    *,
    epochs: int,
    tick: Callable[[int], None] | None = None,
) -> nn.Module:
    """Train `network` on images uint8 (N, 3, H, W) and labels int64 (N,), on the network's device, and return it.

    Each batch is augmented by one operation of the protocol's strategy with numbers of its own for every image; the
    order and the augmentation come from `generator`. The rate drops once at half time, where momentum starts afresh.
    `tick` hears the number of each finished epoch.
    """
    device = labels.device
    mean, std = (torch.tensor(v, device=device) for v in (normalisation.mean, normalisation.std))
    pixels = normalise(to_unit(images), mean, std)
    rate = protocol.rate
    network.train()
    optimiser = _sgd(network, protocol, rate)
    for epoch in range(epochs):
        if epoch == epochs // 2 and epoch:
            rate *= protocol.drop
            optimiser = _sgd(network, protocol, rate)
        for rows in batches(torch.randperm(len(labels), generator=generator), protocol.batch):
            augmentation = draw(protocol.augment, generator, rows=len(rows))
            rows = rows.to(device)
            with _precision(protocol, device):
                loss = nn.functional.cross_entropy(network(augmentation(pixels[rows])), labels[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if tick:
            tick(epoch + 1)
    return network


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, protocol: Protocol, normalisation: Normalisation) -> Tensor:
    """Class probabilities float32 (N, C) of images uint8 (N, 3, H, W), in evaluation mode."""
    device = next(network.parameters()).device
    mean, std = (torch.tensor(v, device=device) for v in (normalisation.mean, normalisation.std))
    network.eval()
    parts = []
    for part in images.split(EVALUATION_BATCH):
        with _precision(protocol, device):
            logits = network(normalise(to_unit(part.to(device)), mean, std))
        parts.append(logits.float().softmax(1).cpu())
    return torch.cat(parts)


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Consecutive parts of `size` rows; a last part of one row joins the one before, for batch normalisation's sake."""
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _sgd(network: nn.Module, protocol: Protocol, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        network.parameters(), lr=rate, momentum=protocol.momentum, weight_decay=protocol.weight_decay
    )


def _precision(protocol: Protocol, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bfloat16")
