"""Training a network on a small labelled image set: the `dm` protocol (Zhao & Bilen 2023, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from dgdd_cli.config import Protocol
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.evaluation.feed import Batch, Chance, epoch, pool_of, send, statistics_on
from dgdd_cli.evaluation.trainers import trainer_named
from dgdd_cli.evaluation.training_set import TrainingSet
from dgdd_cli.networks import Network, images_at_once
from dgdd_cli.synthesis.pixels import normalise, to_unit


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
    trainer, settings = trainer_named(protocol.trainer), protocol.trainer_settings
    device = training.labels.device
    state = trainer.start(training.domains, num_domains).to(device)
    network.train()

    def loss_of(batch: Batch) -> Tensor:
        nonlocal state
        images, labels, domains, draws = batch  # of one training: R = 1
        own = tuple(value[0] for value in draws)
        loss, state = trainer.loss(network, images[0], labels[0], domains[0], own, state, settings)
        return loss

    pool = pool_of([training], [0], normalisation)
    descend(
        list(network.parameters()),
        loss_of,
        partial(epoch, pool, protocol, [chance]),
        protocol,
        epochs=epochs,
        device=device,
        tick=tick,
    )
    return network


def descend(
    parameters: Sequence[Tensor],
    loss_of: Callable[[Batch], Tensor],
    feed: Callable[[], Iterable[Batch]],
    protocol: Protocol,
    *,
    epochs: int,
    device: torch.device,
    tick: Callable[[int], None] | None = None,
) -> None:
    """SGD on the loss of one batch at a time; `feed` gives the batches of one epoch.

    On CUDA nothing in it waits for the device, nor does `tick` tell what the device has finished.
    """
    rate = protocol.rate
    optimiser = _sgd(parameters, protocol, rate)
    for number in range(epochs):
        if number == epochs // 2 and number:
            rate *= protocol.drop
            optimiser = _sgd(parameters, protocol, rate)
        for batch in feed():
            with precision(protocol, device):
                loss = loss_of(batch)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if tick:
            tick(number + 1)


@torch.no_grad()
def predict(network: Network, images: Tensor, protocol: Protocol, normalisation: Normalisation) -> Tensor:
    """Class probabilities float32 (N, C) of images uint8 (N, 3, H, W), in evaluation mode, on the CPU."""
    device = next(network.parameters()).device
    network.eval()
    found, statistics = [], statistics_on(device, normalisation)
    for part in images.split(images_at_once(network, images.shape[-1])):
        (seen,) = send([part], device) if part.device.type == "cpu" else [part]
        with precision(protocol, device):
            logits = network(normalise(to_unit(seen), *statistics))
        found.append(logits.float().softmax(1))
    return torch.cat(found).cpu()


def precision(protocol: Protocol, device: torch.device) -> torch.autocast:
    """The arithmetic of the forward pass: float32, or bfloat16 where it is safe."""
    return torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bfloat16")


def _sgd(parameters: Sequence[Tensor], protocol: Protocol, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=rate, momentum=protocol.momentum, weight_decay=protocol.weight_decay)
