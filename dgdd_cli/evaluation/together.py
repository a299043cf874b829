"""Several trainings in lockstep: R networks, each with its own weights, batches and draws, in one mapped pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dgdd_cli.config import Protocol
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.evaluation.contestant import TrainingSet
from dgdd_cli.evaluation.feed import Chance, epoch, pool_of
from dgdd_cli.evaluation.train import descend, on, put
from dgdd_cli.evaluation.trainers import Trainer, trainer_named, trainer_of
from dgdd_cli.evaluation.trainers.trainer import Batch, Draws, Parameters
from dgdd_cli.networks import Backbone, blueprint
from dgdd_cli.networks.convnet import ConvNet
from dgdd_cli.networks.folded import FoldedConvNet
from dgdd_cli.networks.footprint import footprint
from dgdd_cli.networks.slices import KEPT
from dgdd_cli.synthesis.labels import Labels

TOGETHER = 2 * KEPT  # bytes of maps kept by all; a single network never makes its maps anew below this


@dataclass(frozen=True, slots=True)
class Repeats:
    """How the repeats of one network are trained, and why."""

    mode: Literal["together", "one by one"]
    reason: str


def choose_repeats(network: str, protocol: Protocol, device: torch.device, repeats: int, *, image_size: int) -> Repeats:
    """Together on CUDA, where many small networks share each kernel; one by one where they cannot or need not."""
    if repeats == 1:
        return Repeats("one by one", "there is one repeat")
    form = blueprint(network, image_size=image_size, width=protocol.width)
    if form.batch_normalised:
        return Repeats(
            "one by one", f"{network} has batch normalisation, whose running statistics belong to one network"
        )
    if not isinstance(form, ConvNet):
        return Repeats("one by one", f"{network} has no form in which several are passed at once")
    if (why := trainer_named(protocol.trainer).alone) is not None:
        return Repeats("one by one", why)
    if device.type != "cuda":
        return Repeats("one by one", f"on {device.type} several trainings in lockstep are not clearly faster")
    kept = footprint(network, image_size=image_size, width=protocol.width).kept * protocol.batch * repeats
    if kept > TOGETHER:
        return Repeats(
            "one by one", f"at {image_size} px the maps of {repeats} batches would take {kept / 2**30:.1f} GiB at once"
        )
    return Repeats("together", "on CUDA the small networks of all repeats share each kernel")


def train_together(
    networks: Sequence[Backbone],
    sets: Sequence[TrainingSet],
    protocol: Protocol,
    normalisation: Normalisation,
    chances: Sequence[Chance],
    *,
    num_domains: int,
    epochs: int,
    pace: int | None = None,
    of: Sequence[int] | None = None,
    tick: Callable[[int], None] | None = None,
) -> None:
    """Train R networks of one form on sets of one size, as `train` does each of them, up to rounding.

    `of` says which of the sets each network is trained on; without it there are R sets. The parameters become stacked
    tensors (R, ...) that one optimiser steps; SGD acts on each element, so that no network feels another.
    """
    trainer, settings = trainer_of(protocol)
    device = sets[0].domains.device
    of = range(len(sets)) if of is None else of
    forms = [network for network in networks if isinstance(network, ConvNet)]
    if len(forms) < len(networks):
        raise ValueError("only ConvNets are trained together: networks with buffers would share them")
    for network in networks:
        network.train()
    parameters, _ = torch.func.stack_module_state(list[nn.Module](forms))  # names to (R, ...)
    each = [trainer.parameters(one, settings, chance.trainer) for one, chance in zip(networks, chances, strict=True)]
    own = on(device, {name: torch.stack([value[name] for value in each]) for name in each[0]})  # names to (R, ...)
    starts = [trainer.start(one.domains, num_domains).to(device) for one in sets]
    mapped = torch.func.vmap(partial(_loss, _Loss(FoldedConvNet(forms[0]), trainer, settings, sets[0].labels)))

    def loss_of(batch: Batch, states: Tensor) -> tuple[Tensor, Tensor]:
        images, labels, domains, draws = batch
        losses, states = mapped(parameters, own, images, labels.tensors, domains, draws, states)
        return losses.sum(), states

    final = descend(
        parameters,
        own,
        loss_of,
        torch.stack([starts[place] for place in of]),  # (R, ...)
        partial(epoch, pool_of(sets, of, normalisation), protocol, chances),
        protocol,
        epochs=epochs,
        pace=pace or len(sets[0].labels),
        lead=1,
        tick=tick,
    )
    for r, network in enumerate(networks):
        put({name: values[r] for name, values in final.items()}, network)


class _Loss(nn.Module):
    """A trainer's loss as a module's forward pass, so that the network's parameters can be swapped within it."""

    def __init__(self, network: FoldedConvNet, trainer: Trainer, settings: Any, labels: Labels) -> None:
        super().__init__()
        self.network: Any = network  # a ConvNet to the trainers
        self.trainer, self.settings, self.labels = trainer, settings, labels

    def forward(
        self,
        own: Parameters,
        images: Tensor,
        labels: tuple[Tensor, ...],
        domains: Tensor,
        draws: Draws,
        state: Tensor,
    ) -> tuple[Tensor, Tensor]:
        batch = Batch(images, self.labels.of(labels), domains, draws)
        return self.trainer.loss(self.network, batch, own, state, self.settings)


def _loss(shell: _Loss, parameters: Parameters, *batch: Any) -> tuple[Tensor, Tensor]:
    return torch.func.functional_call(shell, {f"network.{name}": value for name, value in parameters.items()}, batch)
