"""Equal-budget baselines and the ceiling: training sets made of real source images."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.engine.seeds import stream
from dgdd_cli.errors import UnknownName
from dgdd_cli.synthesis.initial import balanced_rows, random_rows

BASELINES = ("random", "balanced-random", "whole")


def check_baselines(names: Iterable[str]) -> None:
    """Raise UnknownName for a baseline that does not exist."""
    for name in names:
        if name not in BASELINES:
            raise UnknownName("baseline", name, BASELINES)


def baseline_rows(name: str, source: DomainDataset, *, ipc: int, seed: int, repeat: int) -> Tensor:
    """Rows of the source set that a baseline other than `whole` trains on, int64: every repeat draws its own."""
    generator = stream(seed, "baseline", name, repeat)
    return (random_rows if name == "random" else balanced_rows)(source, ipc, generator)
