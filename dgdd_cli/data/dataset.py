"""The labelled, multi-domain image set that everything else reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dgdd_cli.errors import DataError, UnknownName
from dgdd_cli.text import check_name, plural, printable


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per-channel mean and standard deviation (RGB, pixels in [0, 1]) and where they come from."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    origin: str


@dataclass(frozen=True, slots=True)
class DomainDataset:
    """Images with a class and a domain each.

    images uint8 (N, 3, H, W); labels and domains int64 (N); names in index order. `normalisation` is None when
    the set does not come with published statistics; `skipped_files`: which corrupt files were left out, and why.
    Raises DataError when the parts do not fit together.
    """

    name: str
    images: Tensor  # (N, 3, H, W) uint8
    labels: Tensor  # (N,) int64
    domains: Tensor  # (N,) int64
    class_names: tuple[str, ...]
    domain_names: tuple[str, ...]
    licence: str = "not stated"
    normalisation: Normalisation | None = None
    skipped_files: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())
    _hashes: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)  # of domains, by name

    def __post_init__(self) -> None:
        n = self.images.shape[0]
        for name in (self.name, *self.class_names, *self.domain_names):
            try:
                check_name(name)
            except ValueError as error:
                raise DataError(f"the name {printable(name)!r} {error}", hint="rename its folder") from error
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise DataError(f"{self.name}: images must be uint8 (N, 3, H, W), got {tuple(self.images.shape)}")
        for what, index, names in (
            ("labels", self.labels, self.class_names),
            ("domains", self.domains, self.domain_names),
        ):
            if index.dtype != torch.int64 or index.shape != (n,):
                raise DataError(f"{self.name}: {what} must be int64 ({n},), got {index.dtype} {tuple(index.shape)}")
            if n and (int(index.min()) < 0 or int(index.max()) >= len(names)):
                raise DataError(f"{self.name}: {what} out of range for {plural(len(names), 'name')}")

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def image_size(self) -> int:
        return self.images.shape[-1]

    @property
    def skipped(self) -> int:
        """How many corrupt images were left out."""
        return len(self.skipped_files)

    def counts(self) -> Tensor:
        """Images per cell, int64 (C, D)."""
        cells = self.labels * len(self.domain_names) + self.domains
        shape = (len(self.class_names), len(self.domain_names))
        return torch.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)

    def domain_fingerprints(self) -> dict[str, str]:
        """sha256 over pixels and labels of each domain, by name; computed once."""
        for d, name in enumerate(self.domain_names):
            if name not in self._hashes:
                self._hashes[name] = _fingerprint(self, d)
        return {name: self._hashes[name] for name in self.domain_names}

    def fingerprint(self) -> str:
        """sha256 over the class names and every domain's pixels and labels; independent of the domains' order."""
        parts = [list(self.class_names), sorted(self.domain_fingerprints().items())]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()

    def only(self, domains: Sequence[str]) -> DomainDataset:
        """The images of the named domains, re-indexed in the order given; the class list stays whole.

        Raises UnknownName for a domain that the set does not have.
        """
        for name in domains:
            if name not in self.domain_names:
                raise UnknownName("domain", name, self.domain_names)
        old = torch.tensor([self.domain_names.index(name) for name in domains], dtype=torch.int64)
        lookup = torch.full((len(self.domain_names),), -1, dtype=torch.int64)
        lookup[old] = torch.arange(len(domains))
        kept = torch.isin(self.domains, old)
        part = replace(
            self,
            images=self.images[kept],
            labels=self.labels[kept],
            domains=lookup[self.domains[kept]],
            domain_names=tuple(domains),
        )
        part._hashes.update({name: known for name, known in self._hashes.items() if name in domains})
        return part


def _fingerprint(dataset: DomainDataset, domain: int) -> str:
    rows = (dataset.domains == domain).nonzero().squeeze(1)
    digest = hashlib.sha256(json.dumps(list(dataset.images.shape[1:])).encode())
    digest.update(dataset.labels[rows].contiguous().numpy().tobytes())
    for chunk in rows.split(1024):
        digest.update(dataset.images[chunk].contiguous().numpy().tobytes())
    return digest.hexdigest()
