"""Equal-budget baselines and the ceiling: training sets made of real source images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dgdd_cli.config import Probes, resolve
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.errors import UnknownName
from dgdd_cli.probes.centroid_rows import centroid_rows
from dgdd_cli.runtime.seeds import stream
from dgdd_cli.synthesis.initial import balanced_rows, random_rows

CPU = torch.device("cpu")
BASELINES = ("random", "balanced-random", "kmeans", "whole")


def check_baselines(names: Iterable[str]) -> None:
    """Raise UnknownName for a baseline that does not exist."""
    for name in names:
        if name not in BASELINES:
            raise UnknownName("baseline", name, BASELINES)


def baseline_rows(
    name: str,
    source: DomainDataset,
    *,
    ipc: int,
    seed: int,
    repeat: int,
    device: torch.device = CPU,
) -> Tensor:
    """Rows of the source set that a baseline other than `whole` trains on, int64: every repeat draws its own.

    `kmeans` is the method of that name, for each repeat with another random network, on `device`.
    """
    generator = stream(seed, "baseline", name, repeat)
    if name == "kmeans":
        probes = resolve({"dataset": source.name, "method": name}).recipe.probes or Probes()
        return centroid_rows(source, probes, ipc=ipc, seed=seed, index=repeat, generator=generator, device=device)
    return (random_rows if name == "random" else balanced_rows)(source, ipc, generator)
