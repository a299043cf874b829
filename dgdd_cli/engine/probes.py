"""Probes: a random network, an augmentation draw, and the statistics of the real images seen through both.

A probe is a function of (seed, index) alone. `fresh` draws a new network and a sample of each cell at every step, as
published; a bank holds K of them with the exact per-cell means of the whole source set, so that a step touches only
synthetic images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.augment import Draw, draw
from dgdd_cli.config import Probes
from dgdd_cli.data.dataset import DomainDataset, Normalisation
from dgdd_cli.engine.memory import free_memory_bytes
from dgdd_cli.engine.ranks import ALONE, Ranks
from dgdd_cli.engine.seeds import stream
from dgdd_cli.errors import UsageError
from dgdd_cli.networks import Network, build
from dgdd_cli.progress import Progress
from dgdd_cli.synthesis.pixels import normalise, to_unit

CHUNK = 256  # images a forward pass: larger ones only cost memory


@dataclass(frozen=True, slots=True)
class View:
    """The eyes of a probe: images in [0, 1] to features (N, F)."""

    network: Network
    augmentation: Draw
    mean: Tensor  # (3,)
    std: Tensor  # (3,)

    def __call__(self, images: Tensor) -> Tensor:
        return self.network.features(self.augmentation(normalise(images, self.mean, self.std)))


@dataclass(frozen=True, slots=True)
class Probe:
    """A view and the mean features of every cell of the source set through it, (C, D, F)."""

    view: View
    cell_means: Tensor


def make_view(
    source: DomainDataset, settings: Probes, normalisation: Normalisation, seed: int, index: int, device: torch.device
) -> View:
    """The view number `index` of a seed."""
    network = build(
        settings.network,
        num_classes=len(source.class_names),
        image_size=source.image_size,
        generator=stream(seed, "probe", index, "network"),
        width=settings.width,
    )
    network.requires_grad_(False)
    return View(
        network.to(device),
        draw(settings.augment, stream(seed, "probe", index, "augmentation")),
        torch.tensor(normalisation.mean, device=device),
        torch.tensor(normalisation.std, device=device),
    )


@torch.no_grad()
def cell_means(view: View, images: Tensor, cells: Tensor, shape: tuple[int, int]) -> Tensor:
    """Mean feature of every cell, float32 (C, D, F); 0 for a cell without images.

    images uint8 (N, 3, H, W); cells int64 (N,), c·D + d; sums accumulate in float64.
    """
    totals: Tensor | None = None
    for rows in torch.arange(len(images), device=images.device).split(CHUNK):
        features = view(to_unit(images[rows])).to(torch.float64)
        if totals is None:
            totals = features.new_zeros(shape[0] * shape[1], features.shape[1])
        totals.index_add_(0, cells[rows], features)
    assert totals is not None, "the source set has images: check_cells refuses an empty one"
    counts = torch.bincount(cells, minlength=len(totals)).clamp_min(1)
    return (totals / counts[:, None]).to(torch.float32).view(*shape, -1)


def probe_source(
    source: DomainDataset,
    settings: Probes,
    normalisation: Normalisation,
    *,
    seed: int,
    steps: int,
    device: torch.device,
    progress: Progress,
    ranks: Ranks = ALONE,
) -> Callable[[int], Probe]:
    """Step number to probe, for steps 0 .. steps − 1. A bank is computed here, under the stage `probe bank`; one
    that does not fit into memory raises UsageError with the estimate before it starts. Of a bank every rank holds
    its share, the probes whose number leaves its rank; fresh probes are dealt to the ranks in turn."""
    shape = (len(source.class_names), len(source.domain_names))
    images = source.images.to(device)
    cells = (source.labels * shape[1] + source.domains).to(device)

    def exact(index: int) -> Probe:
        view = make_view(source, settings, normalisation, seed, index, device)
        return Probe(view, cell_means(view, images, cells, shape))

    def sampled(step: int) -> Probe:
        index = step * ranks.size + ranks.rank
        view = make_view(source, settings, normalisation, seed, index, device)
        rows = _sample_cells(cells, shape, settings.batch, stream(seed, "probe", index, "batch"))
        return Probe(view, cell_means(view, images[rows], cells[rows], shape))

    if settings.bank_size is None:
        return sampled
    if settings.bank_size < ranks.size:
        raise UsageError(
            f"a bank of {settings.bank_size} probes is too small for {ranks.size} ranks",
            hint=f"--probes bank:{ranks.size} or more",
        )
    mine = range(settings.bank_size)[ranks.rank :: ranks.size][:steps]
    _check_memory(make_view(source, settings, normalisation, seed, 0, device).network, shape, len(mine), device)
    bank = []
    progress("probe bank", 0, len(mine))
    for index in mine:
        bank.append(exact(index))
        progress("probe bank", len(bank), len(mine))

    def banked(step: int) -> Probe:
        turn, place = divmod(step, len(bank))
        return bank[int(torch.randperm(len(bank), generator=stream(seed, "bank", turn))[place])]

    return banked


def bank_bytes(network: Network, shape: tuple[int, int], size: int) -> int:
    """Memory of `size` probes in bytes: a float32 mean for each of C x D cells, and the network's own parameters."""
    width = network.classifier.in_features
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return 4 * size * (shape[0] * shape[1] * width + parameters)


def _check_memory(network: Network, shape: tuple[int, int], size: int, device: torch.device) -> None:
    needed, free = bank_bytes(network, shape, size), free_memory_bytes(device)
    if free is not None and needed > free:
        fitting = free // bank_bytes(network, shape, 1)
        raise UsageError(
            f"a bank of {size} probes needs {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free",
            hint=f"--probes bank:{fitting // 2}, or --probes fresh" if fitting > 1 else "--probes fresh",
        )


def _sample_cells(cells: Tensor, shape: tuple[int, int], batch: int, generator: torch.Generator) -> Tensor:
    picks = []
    for cell in range(shape[0] * shape[1]):
        rows = (cells == cell).nonzero().squeeze(1)
        picks.append(rows[torch.randperm(len(rows), generator=generator)[:batch].to(rows.device)])
    return torch.cat(picks)
