"""How the layers below the command line report that time passes: one callable, no printing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Called after each unit of work: `stage` in words, units done of a total, and figures worth showing."""

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None: ...


def silent(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
    """Report nothing."""
