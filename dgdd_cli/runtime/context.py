"""What a run takes place under, whatever it does: made once above, handed down whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from dgdd_cli.progress import Progress, silent
from dgdd_cli.runtime.device import Choice, given
from dgdd_cli.runtime.ranks import ALONE, Ranks
from dgdd_cli.runtime.seeds import stream
from dgdd_cli.storage.cache import Cache


@dataclass(frozen=True, slots=True)
class Context:
    """Seed, device, kernels, ranks, cache and progress of a run; messages go to the logger `dgdd`."""

    seed: int = 0
    chosen: Choice = field(default_factory=lambda: given(torch.device("cpu")))
    kernels: str = "auto"
    ranks: Ranks = ALONE
    cache: Cache | None = None
    progress: Progress = silent

    @property
    def device(self) -> torch.device:
        return self.chosen.device

    def stream(self, *names: str | int) -> torch.Generator:
        """The generator of this run's seed under a path of names."""
        return stream(self.seed, *names)
