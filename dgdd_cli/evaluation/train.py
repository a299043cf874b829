"""Training a network on a small labelled image set: the `dm` protocol (Zhao & Bilen 2023, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, count, islice
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from dgdd_cli.config import Protocol
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.images import Pixels
from dgdd_cli.evaluation.contestant import TrainingSet
from dgdd_cli.evaluation.feed import Chance, epoch, parts, pool_of, send, statistics_on
from dgdd_cli.evaluation.trainers import trainer_of
from dgdd_cli.evaluation.trainers.trainer import Batch, Parameters
from dgdd_cli.networks import Backbone, images_at_once
from dgdd_cli.synthesis.pixels import normalise, to_unit

Loss = Callable[[Batch, Tensor], tuple[Tensor, Tensor]]  # of a batch and a state: a loss and the new state


def train(
    network: Backbone,
    training: TrainingSet,
    protocol: Protocol,
    normalisation: Normalisation,
    chance: Chance,
    *,
    num_domains: int,
    epochs: int,
    pace: int | None = None,
    tick: Callable[[int], None] | None = None,
) -> Backbone:
    """Train `network` on a set that lies on its device, and return it.

    Each batch is augmented by one operation of the protocol's strategy with numbers of its own for every image. The
    rate drops once at half time, where momentum starts afresh. `pace`: the size of the set whose epochs are counted,
    where it is not this one's. `tick` hears the number of each finished epoch.
    """
    trainer, settings = trainer_of(protocol)
    device = next(network.parameters()).device
    own = on(device, trainer.parameters(network, settings, chance.trainer))
    network.train()

    def loss_of(batch: Batch, state: Tensor) -> tuple[Tensor, Tensor]:
        draws = tuple(value[0] for value in batch.draws)  # of one training: R = 1
        one = Batch(batch.images[0], batch.labels.at(0), batch.domains[0], draws)
        return trainer.loss(network, one, own, state, settings)

    feed = partial(epoch, pool_of([training], [0], normalisation), protocol, [chance])
    final = descend(
        dict(network.named_parameters()),
        own,
        loss_of,
        trainer.start(training.domains, num_domains).to(device),
        feed,
        protocol,
        epochs=epochs,
        pace=pace or len(training.labels),
        lead=0,
        tick=tick,
    )
    if trainer.end is not None:
        put(final, network)
        update_bn((batch.images[0] for batch in feed()), cast(nn.Module, network))
    return network


def descend(
    parameters: Parameters,
    own: Parameters,
    loss_of: Loss,
    state: Tensor,
    feed: Callable[[], Iterable[Batch]],
    protocol: Protocol,
    *,
    epochs: int,
    pace: int,
    lead: int,
    tick: Callable[[int], None] | None = None,
) -> Parameters:
    """SGD on the loss of one batch at a time, or the trainer's own steps; the parameters that the trainer ends with.

    `feed` gives the batches of one epoch of the training set; there are as many steps as `epochs` of a set of `pace`
    images have. The network's `parameters` and the trainer's `own` have `lead` dimensions that count trainings. On CUDA
    nothing in it waits for the device, nor does `tick` tell what the device has finished.
    """
    (trainer, settings), every = trainer_of(protocol), [*parameters.values(), *own.values()]
    half, each, steps = (steps_of(number, pace, protocol) for number in (epochs // 2, 1, epochs))
    optimiser, running = _sgd(every, protocol, protocol.rate), None
    batches = chain.from_iterable(feed() for _ in count())
    for step, batch in enumerate(islice(batches, steps)):
        if step == half and half:
            optimiser = _sgd(every, protocol, protocol.rate * protocol.drop)
        compute = partial(_computed, protocol, loss_of, batch, state)
        state = trainer.step(compute, every, optimiser, lead, settings)
        if trainer.end is not None:
            with torch.no_grad():
                running = trainer.end.follow(running, parameters, step + 1, steps, settings)
        if tick and (step + 1) % each == 0:
            tick((step + 1) // each)
    return parameters if trainer.end is None or not steps else trainer.end.result(running, settings)


def steps_of(epochs: int, size: int, protocol: Protocol) -> int:
    """Optimiser steps of so many epochs of a set of a size."""
    return epochs * len(parts(torch.arange(size), protocol.batch))


def on(device: torch.device, parameters: Parameters) -> Parameters:
    """Parameters on a device, as leaves that take gradients."""
    return {name: value.detach().to(device).requires_grad_() for name, value in parameters.items()}


@torch.no_grad()
def put(parameters: Parameters, network: Backbone) -> None:
    """Copy parameters of these names into the network."""
    for name, parameter in network.named_parameters():
        parameter.copy_(parameters[name])


@torch.no_grad()
def predict(network: Backbone, images: Pixels, protocol: Protocol, normalisation: Normalisation) -> Tensor:
    """Class probabilities float32 (N, C) of all images, in evaluation mode, on the CPU."""
    device = next(network.parameters()).device
    network.eval()
    found, statistics = [], statistics_on(device, normalisation)
    for part in images.batches(images_at_once(network, images.image_size)):
        (seen,) = send([part], device) if part.device.type == "cpu" else [part]
        with precision(protocol, device):
            logits = network(normalise(to_unit(seen), *statistics))
        found.append(logits.float().softmax(1))
    return torch.cat(found).cpu()


def precision(protocol: Protocol, device: torch.device) -> torch.autocast:
    """The arithmetic of the forward pass: float32, or bfloat16 where it is safe."""
    return torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bfloat16")


def _computed(protocol: Protocol, loss_of: Loss, batch: Batch, state: Tensor) -> tuple[Tensor, Tensor]:
    with precision(protocol, batch.images.device):
        return loss_of(batch, state)


def _sgd(parameters: Sequence[Tensor], protocol: Protocol, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=rate, momentum=protocol.momentum, weight_decay=protocol.weight_decay)
