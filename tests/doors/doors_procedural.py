"""Images that nobody holds: what a user writes to put a store of another kind under the protocol `Images`.

Each image is drawn when it is asked for. What is asked for is noted: how many images at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dgdd_cli.data.dataset import Normalisation, count_cells, hash_domain, hash_domains, rows_of_domains


@dataclass(frozen=True)
class Procedural:
    """Image i is `draw(i)`, uint8 (3, H, W); the sets that `only` makes note into the same `asked`."""

    draw: Callable[[int], Tensor]
    numbers: Tensor  # (N,) int64: which of the drawn images each is
    labels: Tensor
    domains: Tensor
    class_names: tuple[str, ...]
    domain_names: tuple[str, ...]
    image_size: int
    name: str = "procedural"
    licence: str = "none"
    normalisation: Normalisation | None = None
    skipped_files: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    asked: dict[str, set[int]] = field(default_factory=lambda: {"batches": set(), "at": set()})

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, rows: Tensor | None = None) -> Iterator[Tensor]:
        """All images, or those at `rows`, in order, `size` at a time."""
        self.asked["batches"].add(size)
        return map(self._drawn, (torch.arange(len(self)) if rows is None else rows).split(size))

    def at(self, rows: Tensor) -> Tensor:
        """The images at `rows` int64 (n,)."""
        self.asked["at"].add(len(rows))
        return self._drawn(rows)

    def counts(self) -> Tensor:
        """Images per cell, int64 (C, D)."""
        return count_cells(self)

    def domain_fingerprints(self) -> dict[str, str]:
        """sha256 over pixels and labels of each domain, by name."""
        return {name: hash_domain(self, d) for d, name in enumerate(self.domain_names)}

    def fingerprint(self) -> str:
        """sha256 over the class names and every domain's fingerprint."""
        return hash_domains(self.class_names, self.domain_fingerprints())

    def only(self, domains: Sequence[str]) -> Procedural:
        """The images of the named domains, re-indexed in the order given."""
        rows, index = rows_of_domains(self, domains)
        return replace(
            self,
            numbers=self.numbers[rows],
            labels=self.labels[rows],
            domains=index,
            domain_names=tuple(domains),
        )

    def _drawn(self, rows: Tensor) -> Tensor:
        return torch.stack([self.draw(int(number)) for number in self.numbers[rows]]) if len(rows) else self._none()

    def _none(self) -> Tensor:
        return torch.zeros(0, 3, self.image_size, self.image_size, dtype=torch.uint8)
