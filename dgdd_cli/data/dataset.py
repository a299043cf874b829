"""The labelled, multi-domain image set that everything else reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dgdd_cli.data.held import Held
from dgdd_cli.errors import DataError, UnknownName
from dgdd_cli.text import check_name, plural, printable

if TYPE_CHECKING:
    from dgdd_cli.data.images import Images

_HASHED = 1024  # images at once


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per-channel mean and standard deviation (RGB, pixels in [0, 1]) and where they come from."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    origin: str


@dataclass(frozen=True, slots=True)
class DomainDataset:
    """Images in memory with a class and a domain each: the protocol `Images` over one tensor.

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

    def batches(self, size: int, rows: Tensor | None = None) -> Iterator[Tensor]:
        """All images, or those at `rows`, in order: uint8 (B, 3, H, W), B = `size` but for the last."""
        return Held(self.images).batches(size, rows)

    def at(self, rows: Tensor) -> Tensor:
        """The images at `rows` int64 (n,): uint8 (n, 3, H, W)."""
        return self.images[rows]

    def counts(self) -> Tensor:
        """Images per cell, int64 (C, D)."""
        return count_cells(self)

    def domain_fingerprints(self) -> dict[str, str]:
        """sha256 over pixels and labels of each domain, by name; computed once."""
        for d, name in enumerate(self.domain_names):
            if name not in self._hashes:
                self._hashes[name] = hash_domain(self, d)
        return {name: self._hashes[name] for name in self.domain_names}

    def fingerprint(self) -> str:
        """sha256 over the class names and every domain's pixels and labels; independent of the domains' order."""
        return hash_domains(self.class_names, self.domain_fingerprints())

    def only(self, domains: Sequence[str]) -> DomainDataset:
        """The images of the named domains, re-indexed in the order given; the class list stays whole.

        Raises UnknownName for a domain that the set does not have.
        """
        rows, index = rows_of_domains(self, domains)
        part = replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            domains=index,
            domain_names=tuple(domains),
        )
        part._hashes.update({name: known for name, known in self._hashes.items() if name in domains})
        return part


def count_cells(images: Images) -> Tensor:
    """Images per cell, int64 (C, D)."""
    shape = (len(images.class_names), len(images.domain_names))
    cells = images.labels * shape[1] + images.domains
    return torch.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)


def hash_domain(images: Images, domain: int) -> str:
    """The fingerprint of a domain: sha256 over the shape of an image, then labels and pixels in their order."""
    rows = (images.domains == domain).nonzero().squeeze(1)
    digest = hashlib.sha256(json.dumps([3, images.image_size, images.image_size]).encode())
    digest.update(images.labels[rows].contiguous().numpy().tobytes())
    for batch in images.batches(_HASHED, rows):
        digest.update(batch.contiguous().numpy().tobytes())
    return digest.hexdigest()


def hash_domains(class_names: Sequence[str], domains: Mapping[str, str]) -> str:
    """The fingerprint of a set from those of its domains by name."""
    parts = [list(class_names), sorted(domains.items())]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def rows_of_domains(images: Images, domains: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The rows of the named domains, in their order in the set, and the place of each one's domain among the names.

    Raises UnknownName for a domain that the set does not have.
    """
    for name in domains:
        if name not in images.domain_names:
            raise UnknownName("domain", name, images.domain_names)
    old = torch.tensor([images.domain_names.index(name) for name in domains], dtype=torch.int64)
    lookup = torch.full((len(images.domain_names),), -1, dtype=torch.int64)
    lookup[old] = torch.arange(len(domains))
    rows = torch.isin(images.domains, old).nonzero().squeeze(1)
    return rows, lookup[images.domains[rows]]


def with_pixels(images: Images, pixels: Tensor) -> DomainDataset:
    """A set in memory with other pixels uint8 (N, 3, H, W) and all else the same."""
    return DomainDataset(
        name=images.name,
        images=pixels,
        labels=images.labels,
        domains=images.domains,
        class_names=images.class_names,
        domain_names=images.domain_names,
        licence=images.licence,
        normalisation=images.normalisation,
        skipped_files=images.skipped_files,
        notes=images.notes,
    )
