"""One training set in a comparison, and the images that it trains a network on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.held import Held, resident
from dgdd_cli.data.images import Images, Pixels
from dgdd_cli.synthesis.labels import Kind, Labels


class TrainingSet(NamedTuple):
    """Images with what each is taught and, where known, the domain it comes from."""

    images: Pixels
    labels: Labels  # of N images
    domains: Tensor  # (N,) int64 in [-1, D); -1 = mixed

    def to(self, device: torch.device) -> TrainingSet:
        """The same set for use on a device; images that do not fit there come from the host batch by batch."""
        (images,) = resident([self.images], device)
        return TrainingSet(images, self.labels.to(device), self.domains.to(device))


def real_images(source: Images, rows: Tensor | None = None) -> TrainingSet:
    """Some images of a dataset, each with its class; or all, which stay where they are."""
    if rows is None:
        return TrainingSet(source, Labels("hard", source.labels), source.domains)
    return TrainingSet(Held(source.at(rows)), Labels("hard", source.labels[rows]), source.domains[rows])


@dataclass(frozen=True, slots=True)
class Contestant:
    """A training set in the comparison: a bundle, or a baseline that draws other images for every repeat.

    `images` are the training images, `stored` those that they decode from, and `pace` the size of the set whose epochs
    are counted: a student takes as many optimiser steps as `epochs` of `pace` images have. `stored_bytes`: all tensors
    that decoding and training need, at their stored types. `draw` gives the set of a repeat; where `fixed`, the same
    for every one. `fingerprints`: of the source domains it was made from, by name. `source`: the fingerprint of the
    whole source set of a baseline, whose scores may then be kept; None for what is trained anew every time. `budget`:
    the bytes that its images were to fit.
    """

    name: str
    method: str
    kind: str  # "bundle" or "baseline"
    sources: tuple[str, ...]
    normalisation: Normalisation
    epochs: int
    images: int
    stored: int
    stored_bytes: int
    pace: int
    draw: Callable[[int], TrainingSet]
    fixed: bool = False
    label_kind: Kind = "hard"
    bundle_id: str | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    budget: int | None = None
