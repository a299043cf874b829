"""Images of other sets in another arrangement: joined, under other domains, or some of them. No pixel is copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import torch
from torch import Tensor

from dgdd_cli.data.dataset import Normalisation, count_cells, hash_domain, hash_domains, rows_of_domains
from dgdd_cli.data.images import Images


@dataclass(frozen=True, slots=True, eq=False)
class Arranged:
    """N images at `rows` int64 (N,) of sets one after the other, with domains of their own: the protocol `Images`.

    The sets have the same classes; name, licence, normalisation and notes are those of the first.
    """

    sets: tuple[Images, ...]
    rows: Tensor
    labels: Tensor  # (N,) int64
    domains: Tensor  # (N,) int64
    domain_names: tuple[str, ...]
    _hashes: dict[str, str] = field(default_factory=dict, init=False, repr=False)  # of domains, by name

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def name(self) -> str:
        return self.sets[0].name

    @property
    def image_size(self) -> int:
        return self.sets[0].image_size

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.sets[0].class_names

    @property
    def licence(self) -> str:
        return self.sets[0].licence

    @property
    def normalisation(self) -> Normalisation | None:
        return self.sets[0].normalisation

    @property
    def skipped_files(self) -> tuple[tuple[str, str], ...]:
        return self.sets[0].skipped_files

    @property
    def notes(self) -> tuple[str, ...]:
        return self.sets[0].notes

    def batches(self, size: int, rows: Tensor | None = None) -> Iterator[Tensor]:
        """All images, or those at `rows`, in order, `size` at a time."""
        return map(self.at, (torch.arange(len(self)) if rows is None else rows).split(size))

    def at(self, rows: Tensor) -> Tensor:
        """The images at `rows` int64 (n,), each from the set that it lies in."""
        wanted = self.rows[rows]
        if len(self.sets) == 1:
            return self.sets[0].at(wanted)
        ends = list(accumulate(map(len, self.sets)))
        found = torch.empty(0, dtype=torch.uint8)
        for own, end in zip(self.sets, ends, strict=True):
            here = ((wanted < end) & (wanted >= end - len(own))).nonzero().squeeze(1)
            taken = own.at(wanted[here] - (end - len(own)))
            if not found.ndim > 1:
                found = taken.new_empty((len(wanted), *taken.shape[1:]))
            found[here] = taken
        return found

    def counts(self) -> Tensor:
        """Images per cell, int64 (C, D)."""
        return count_cells(self)

    def domain_fingerprints(self) -> dict[str, str]:
        """sha256 over pixels and labels of each domain, by name; computed once."""
        for d, name in enumerate(self.domain_names):
            if name not in self._hashes:
                self._hashes[name] = hash_domain(self, d)
        return dict(self._hashes)

    def fingerprint(self) -> str:
        """sha256 over the class names and every domain's fingerprint."""
        return hash_domains(self.class_names, self.domain_fingerprints())

    def only(self, domains: Sequence[str]) -> Arranged:
        """The images of the named domains, re-indexed in the order given. Raises UnknownName."""
        rows, index = rows_of_domains(self, domains)
        return replace(self, rows=self.rows[rows], labels=self.labels[rows], domains=index, domain_names=tuple(domains))


def joined(targets: Mapping[str, Images]) -> Images:
    """Sets of one domain each, by its name, as one set of several domains in their order."""
    sets = tuple(targets.values())
    if len(sets) == 1:
        return sets[0]
    domains = torch.cat([torch.full((len(own),), d) for d, own in enumerate(sets)])
    labels = torch.cat([own.labels for own in sets])
    return Arranged(sets, torch.arange(len(labels)), labels, domains, tuple(targets))


def under_domains(images: Images, domains: Tensor, domain_names: Sequence[str]) -> Images:
    """The same images under other domains, int64 (N,)."""
    return Arranged((images,), torch.arange(len(images)), images.labels, domains, tuple(domain_names))
