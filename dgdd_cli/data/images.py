"""The protocol of a labelled, multi-domain image set: what everything above the data may ask of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from dgdd_cli.data.dataset import Normalisation


class Pixels(Protocol):
    """N decoded images of one size, never asked for all at once.

    `batches` goes through them in a fixed order; `at` is for the few that are needed out of it: the initialisation,
    samples of cells, batches of a training.
    """

    @property
    def image_size(self) -> int: ...

    def __len__(self) -> int: ...

    def batches(self, size: int, rows: Tensor | None = None) -> Iterator[Tensor]:
        """All images, or those at `rows`, in order: uint8 (B, 3, H, W), B = `size` but for the last."""
        ...

    def at(self, rows: Tensor) -> Tensor:
        """The images at `rows` int64 (n,): uint8 (n, 3, H, W)."""
        ...


class Images(Pixels, Protocol):
    """Pixels on the host with a class and a domain each; `normalisation` is None where no statistics are published.

    `skipped_files`: the corrupt files that were left out, with the reason; `notes`: what else to know of the reading.
    """

    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> Tensor: ...  # (N,) int64 in [0, C)
    @property
    def domains(self) -> Tensor: ...  # (N,) int64 in [0, D)
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def domain_names(self) -> tuple[str, ...]: ...
    @property
    def licence(self) -> str: ...
    @property
    def normalisation(self) -> Normalisation | None: ...
    @property
    def skipped_files(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def counts(self) -> Tensor:
        """Images per cell, int64 (C, D)."""
        ...

    def domain_fingerprints(self) -> dict[str, str]:
        """sha256 over pixels and labels of each domain, by name."""
        ...

    def fingerprint(self) -> str:
        """sha256 over the class names and every domain's fingerprint."""
        ...

    def only(self, domains: Sequence[str]) -> Images:
        """The images of the named domains, re-indexed in the order given. Raises UnknownName."""
        ...
