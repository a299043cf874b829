"""MixStyle (Zhou et al. 2021, "Domain Generalization with MixStyle", section 3.2): styles of images are exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from dgdd_cli.config.settings import Settings
from dgdd_cli.errors import UsageError
from dgdd_cli.evaluation.trainers.beta import beta_draws
from dgdd_cli.evaluation.trainers.trainer import Batch, Draws, Parameters, Trainer
from dgdd_cli.networks import Backbone
from dgdd_cli.networks.convnet import ConvNet
from dgdd_cli.networks.folded import FoldedConvNet
from dgdd_cli.networks.resnet import ResNet18
from dgdd_cli.synthesis.labels import label_losses

PLACES = 2  # after the first and the second block, as the authors advise
EPS = 1e-6


class MixStyle(Settings):
    """MixStyle (Zhou et al. 2021): acts on a batch with `probability`; λ ~ Beta(`alpha`, `alpha`), one an image."""

    probability: Annotated[float, Field(gt=0, le=1)] = 0.5
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.1


def early_inputs(network: Backbone | FoldedConvNet) -> list[nn.Module]:
    """The modules whose input is mixed: those after the first two blocks, the last block's output left as it is."""
    if isinstance(network, FoldedConvNet):
        return list(network.blocks[1 : 1 + PLACES])
    if isinstance(network, ConvNet):
        return list(network.entrances[1 : 1 + PLACES])
    if isinstance(network, ResNet18):
        return [network.trunk.layer2, network.trunk.layer3]
    raise UsageError("mixstyle mixes between the blocks of convnet and resnet18 alone", hint="--trainer erm")


def draw(count: int, settings: MixStyle, generator: torch.Generator) -> Draws:
    """For each place whether it acts, bool (P,), λ of each image (P, B) and with whom it mixes, int64 (P, B)."""
    acts = torch.rand(PLACES, generator=generator) < settings.probability
    shares = beta_draws(settings.alpha, PLACES * count, generator).view(PLACES, count)
    orders = torch.stack([torch.randperm(count, generator=generator) for _ in range(PLACES)])
    return acts, shares, orders


def mix_style(maps: Tensor, share: Tensor, order: Tensor) -> Tensor:
    """σ_mix (x − μ)/σ + μ_mix with μ_mix = λ μ + (1 − λ) μ_π and σ_mix likewise: maps (B, C, H, W), λ and π (B,).

    μ and σ over the pixels of each channel of each image; they carry no gradient.
    """
    mean = maps.mean((2, 3), keepdim=True).detach()
    deviation = (maps.var((2, 3), keepdim=True) + EPS).sqrt().detach()
    share = share.view(-1, 1, 1, 1)
    mixed_mean = share * mean + (1 - share) * mean[order]
    mixed_deviation = share * deviation + (1 - share) * deviation[order]
    return (maps - mean) / deviation * mixed_deviation + mixed_mean


def mixstyle_loss(
    network: Backbone, batch: Batch, own: Parameters, state: Tensor, settings: MixStyle
) -> tuple[Tensor, Tensor]:
    """The mean loss, styles mixed at the early places that act."""
    with _mixing(network, batch.draws):
        return label_losses(network(batch.images), batch.labels).mean(), state


@contextmanager
def _mixing(network: Backbone, draws: Draws) -> Iterator[None]:
    acts, shares, orders = draws

    def at(place: int) -> Any:
        def mix(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            (maps,) = inputs
            return (torch.where(acts[place], mix_style(maps, shares[place], orders[place]).to(maps.dtype), maps),)

        return mix

    handles = [module.register_forward_pre_hook(at(i)) for i, module in enumerate(early_inputs(network))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


MIXSTYLE = Trainer(mixstyle_loss, settings=MixStyle, draw=draw, check=early_inputs, min_depth=2)
