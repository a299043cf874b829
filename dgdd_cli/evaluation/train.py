"""Training a network on a small labelled image set: the `dm` protocol (Zhao & Bilen 2023, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dgdd_cli.augment import draw
from dgdd_cli.config import Protocol
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.evaluation.trainers import TRAINERS
from dgdd_cli.evaluation.training_set import TrainingSet
from dgdd_cli.networks import Network
from dgdd_cli.synthesis.pixels import normalise, to_unit

EVALUATION_BATCH = 256


class Chance(NamedTuple):
    """The generators of one training: batch order and augmentation, and what the trainer itself draws."""

    batches: torch.Generator
    trainer: torch.Generator


class Batch(NamedTuple):
    """What a trainer's loss sees of the data."""

    images: Tensor  # (B, 3, H, W) float32, augmented
    labels: Tensor  # (B,) int64
    domains: Tensor  # (B,) int64
    draws: tuple[Tensor, ...]


def train(
    network: Network,
    training: TrainingSet,
    protocol: Protocol,
    normalisation: Normalisation,
    chance: Chance,
    *,
    num_domains: int,
    epochs: int,
    tick: Callable[[int], None] | None = None,
) -> Network:
    """Train `network` on a set that lies on its device, and return it.

    Each batch is augmented by one operation of the protocol's strategy with numbers of its own for every image. The
    rate drops once at half time, where momentum starts afresh. `tick` hears the number of each finished epoch.
    """
    trainer, settings = TRAINERS[protocol.trainer], protocol.trainer_settings
    device = training.labels.device
    state = trainer.start(training.domains.cpu(), num_domains).to(device)
    network.train()

    def loss_of(batches: Sequence[Batch]) -> Tensor:
        nonlocal state
        loss, state = trainer.loss(network, *batches[0], state, settings)
        return loss

    pixels = prepare(training.images, normalisation)
    descend(
        list(network.parameters()),
        loss_of,
        [lambda: feed(pixels, training, protocol, chance)],
        protocol,
        epochs=epochs,
        device=device,
        tick=tick,
    )
    return network


def descend(
    parameters: Sequence[Tensor],
    loss_of: Callable[[Sequence[Batch]], Tensor],
    feeds: Sequence[Callable[[], Iterable[Batch]]],
    protocol: Protocol,
    *,
    epochs: int,
    device: torch.device,
    tick: Callable[[int], None] | None = None,
) -> None:
    """SGD on the loss of one batch from every feed at a time; a feed gives the batches of one epoch."""
    rate = protocol.rate
    optimiser = _sgd(parameters, protocol, rate)
    for epoch in range(epochs):
        if epoch == epochs // 2 and epoch:
            rate *= protocol.drop
            optimiser = _sgd(parameters, protocol, rate)
        for batches in zip(*(feed() for feed in feeds), strict=True):
            with precision(protocol, device):
                loss = loss_of(batches)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if tick:
            tick(epoch + 1)


def feed(pixels: Tensor, training: TrainingSet, protocol: Protocol, chance: Chance) -> Iterator[Batch]:
    """The batches of one epoch of normalised pixels (N, 3, H, W): a new order, an augmentation for each batch."""
    device = pixels.device
    trainer, settings = TRAINERS[protocol.trainer], protocol.trainer_settings
    for rows in parts(torch.randperm(len(training.labels), generator=chance.batches), protocol.batch):
        augmentation = draw(protocol.augment, chance.batches, rows=len(rows))
        draws = tuple(value.to(device) for value in trainer.draw(len(rows), settings, chance.trainer))
        rows = rows.to(device)
        with precision(protocol, device):
            images = augmentation(pixels[rows])
        yield Batch(images, training.labels[rows], training.domains[rows], draws)


def prepare(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Normalised float32 pixels (N, 3, H, W) of uint8 images, on their device."""
    mean, std = (torch.tensor(v, device=images.device) for v in (normalisation.mean, normalisation.std))
    return normalise(to_unit(images), mean, std)


@torch.no_grad()
def predict(network: Network, images: Tensor, protocol: Protocol, normalisation: Normalisation) -> Tensor:
    """Class probabilities float32 (N, C) of images uint8 (N, 3, H, W), in evaluation mode."""
    device = next(network.parameters()).device
    network.eval()
    found = []
    for part in images.split(EVALUATION_BATCH):
        with precision(protocol, device):
            logits = network(prepare(part.to(device), normalisation))
        found.append(logits.float().softmax(1).cpu())
    return torch.cat(found)


def parts(order: Tensor, size: int) -> list[Tensor]:
    """Consecutive parts of `size` rows; a last part of one row joins the one before, for batch normalisation's sake."""
    found = list(order.split(size))
    if len(found) > 1 and len(found[-1]) == 1:
        found[-2:] = [torch.cat(found[-2:])]
    return found


def precision(protocol: Protocol, device: torch.device) -> torch.autocast:
    """The arithmetic of the forward pass: float32, or bfloat16 where it is safe."""
    return torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bfloat16")


def _sgd(parameters: Sequence[Tensor], protocol: Protocol, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=rate, momentum=protocol.momentum, weight_decay=protocol.weight_decay)
