"""What trainings and tests ask of the device: the batches of R trainings in lockstep, and the test images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from dgdd_cli.augment import Draw, draw
from dgdd_cli.config import Protocol
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.held import Held
from dgdd_cli.data.images import Pixels
from dgdd_cli.evaluation.contestant import TrainingSet
from dgdd_cli.evaluation.trainers import trainer_of
from dgdd_cli.evaluation.trainers.trainer import Batch, Draws
from dgdd_cli.synthesis.labels import Labels
from dgdd_cli.synthesis.pixels import normalise, to_unit


class Chance(NamedTuple):
    """The generators of one training: batch order and augmentation, and what the trainer itself draws."""

    batches: torch.Generator
    trainer: torch.Generator


class Pool(NamedTuple):
    """S training sets of N images each, one after the other, and the row where the set of each training begins."""

    images: Pixels  # S·N; normalised when a batch takes them, for float32 has four times the bytes
    labels: Labels  # of S·N images
    domains: Tensor  # (S·N,) int64
    size: int  # N
    begins: Sequence[int]  # R
    statistics: tuple[Tensor, Tensor]  # mean and deviation of the channels, (3,) each


class _Own(NamedTuple):
    """The chance of one batch of one training."""

    rows: Tensor  # (B,) int64
    augmentation: Draw
    draws: Draws


def pool_of(sets: Sequence[TrainingSet], of: Sequence[int], normalisation: Normalisation) -> Pool:
    """S sets of one size for R trainings; `of` says which set each training has, so that several may share one."""
    (images, labels, domains), size = sets[0], len(sets[0].labels)
    if len(sets) > 1:
        every = torch.arange(size, device=domains.device)
        images = Held(torch.cat([own.images.at(every) for own in sets]))
        domains = torch.cat([own.domains for own in sets])
        labels = labels.of([torch.cat(parts) for parts in zip(*(own.labels.tensors for own in sets), strict=True)])
    begins = [size * place for place in of]
    return Pool(images, labels, domains, size, begins, statistics_on(domains.device, normalisation))


def statistics_on(device: torch.device, normalisation: Normalisation) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the channels, float32 (3,) each."""
    mean, std = send([torch.tensor(v) for v in (normalisation.mean, normalisation.std)], device)
    return mean, std


def epoch(pool: Pool, protocol: Protocol, chances: Sequence[Chance]) -> Iterator[Batch]:
    """The batches of one epoch, R in front of every tensor: each training has an order and augmentations of its own.

    A training draws the same numbers in the same order whatever others are beside it. All are on the device before
    the first batch, where nothing waits for them.
    """
    steps = list(zip(*(_drawn(pool, protocol, *own) for own in zip(pool.begins, chances, strict=True)), strict=True))
    turns = [sorted(range(len(step)), key=lambda r: step[r].augmentation.operation) for step in steps]
    tensors = [_stacked(step, turn) for step, turn in zip(steps, turns, strict=True)]
    moved = iter(send([tensor for own in tensors for tensor in own], pool.domains.device))
    for step, turn, own in zip(steps, turns, tensors, strict=True):
        rows, turned, uniforms, *draws = (next(moved) for _ in own)
        operations = [step[r].augmentation.operation for r in turn]
        seen = normalise(to_unit(pool.images.at(turned)), *pool.statistics)
        images = _augmented(seen, uniforms, operations, turn)
        yield Batch(images, pool.labels.at(rows), pool.domains[rows], tuple(draws))


def _drawn(pool: Pool, protocol: Protocol, begin: int, chance: Chance) -> list[_Own]:
    trainer, settings = trainer_of(protocol)
    order = torch.randperm(pool.size, generator=chance.batches) + begin
    return [
        _Own(
            rows,
            draw(protocol.augment, chance.batches, rows=len(rows)),
            trainer.draw(len(rows), settings, chance.trainer),
        )
        for rows in parts(order, protocol.batch)
    ]


def _stacked(step: Sequence[_Own], turn: Sequence[int]) -> list[Tensor]:
    """What the device needs for one step; images and their numbers go by operation, so that each is one slice."""
    return [
        torch.stack([own.rows for own in step]),  # (R, B)
        torch.cat([step[r].rows for r in turn]),  # (R·B,)
        torch.cat([step[r].augmentation.uniforms for r in turn]),  # (R·B, 3)
        *(torch.stack(own) for own in zip(*(own.draws for own in step), strict=True)),
    ]


def _augmented(images: Tensor, uniforms: Tensor, operations: Sequence[str], turn: Sequence[int]) -> Tensor:
    """Images (R·B, 3, H, W) of trainings in the order `turn`, each operation applied once: (R, B, 3, H, W) in their own
    order."""
    size = len(images) // len(turn)
    found, first = [], 0
    for name, own in groupby(operations):
        last = first + size * len(list(own))
        found.append(Draw(name, uniforms[first:last])(images[first:last]))
        first = last
    if len(found) == 1:
        return found[0].unflatten(0, (len(turn), size))
    by_turn = [batch for part in found for batch in part.split(size)]
    return torch.stack([by_turn[turn.index(r)] for r in range(len(turn))])


def send(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of the CPU on `device`, in one copy for each dtype; to CUDA from pinned memory, so that nothing waits."""
    if device.type == "cpu":
        return list(tensors)
    found: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        places = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
        joined = torch.cat([tensors[place].flatten() for place in places])
        joined = (joined.pin_memory() if device.type == "cuda" else joined).to(device, non_blocking=True)
        for place, part in zip(places, joined.split([tensors[place].numel() for place in places]), strict=True):
            found[place] = part.view(tensors[place].shape)
    return [found[place] for place in range(len(tensors))]


def parts(order: Tensor, size: int) -> list[Tensor]:
    """Consecutive parts of `size` rows; a last part of one row joins the one before, for batch normalisation's sake."""
    found = list(order.split(size))
    if len(found) > 1 and len(found[-1]) == 1:
        found[-2:] = [torch.cat(found[-2:])]
    return found
