"""Views: a random network and an augmentation draw, and the mean features of real images seen through both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dgdd_cli.augment import Draw, draw
from dgdd_cli.config import Probes
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.images import Images, Pixels
from dgdd_cli.matching.readout import Readout, features, readout_named
from dgdd_cli.networks import Backbone, build, images_at_once, normalised_by
from dgdd_cli.runtime.seeds import stream
from dgdd_cli.runtime.transfer import module_to, to_device
from dgdd_cli.synthesis.pixels import normalise, to_unit


@dataclass(frozen=True, slots=True)
class View:
    """The eyes of a probe: images in [0, 1] to what is read out of them, (N, F) float32 whatever the network computes
    in: `features` below, whichever readout it is."""

    network: Backbone
    augmentation: Draw
    mean: Tensor  # (3,)
    std: Tensor  # (3,)
    dtype: torch.dtype
    readout: Readout = features

    def __call__(self, images: Tensor) -> Tensor:
        seen = self.augmentation(normalise(images, self.mean, self.std))
        return self.readout(self.network, seen.to(self.dtype)).to(torch.float32)

    @torch.no_grad()
    def width(self, image_size: int) -> int:
        """How many features it gives of an image."""
        blank = self.mean.new_zeros(1, 3, image_size, image_size, dtype=self.dtype)
        return self.readout(self.network, blank).shape[1]

    def at_once(self, image_size: int) -> int:
        """How many images it sees at once where no gradient is asked for."""
        return images_at_once(self.network, image_size, self.dtype, self.readout)


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """Real images sorted into `count` subsets: ids int64 (N,) in [0, count)."""

    ids: Tensor
    count: int

    def only(self, rows: Tensor) -> Partition:
        """The same subsets of some of the images."""
        return Partition(self.ids[rows], self.count)


def make_view(
    source: Images,
    settings: Probes,
    normalisation: Normalisation,
    seed: int,
    index: int,
    device: torch.device,
    readout: str = "features",
) -> View:
    """The view number `index` of a seed, on a network that is frozen in evaluation mode. In bfloat16 its weights are
    those of float32, rounded."""
    dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    network = build(
        settings.network,
        num_classes=len(source.class_names),
        image_size=source.image_size,
        generator=stream(seed, "probe", index, "network"),
        width=settings.width,
    )
    network.eval().requires_grad_(False)
    normalisation = normalised_by(network, normalisation)
    drawn = draw(settings.augment, stream(seed, "probe", index, "augmentation"))
    mean, std = (to_device(torch.tensor(value), device) for value in (normalisation.mean, normalisation.std))
    augmentation = replace(drawn, uniforms=to_device(drawn.uniforms, device))
    return View(module_to(network, device, dtype), augmentation, mean, std, dtype, readout_named(readout))


@torch.no_grad()
def subset_features(
    view: View, images: Pixels, partitions: Sequence[Partition], rows: Tensor | None = None
) -> list[Tensor]:
    """Mean feature of every subset of every partition, float32 (count, F) each; 0 for a subset without images.

    All images, or those of `rows` (n,), which the partitions are then about; seen once for all partitions; sums
    accumulate in float64, where the device has it.
    """
    totals: list[Tensor] = []
    first = 0
    for part in images.batches(view.at_once(images.image_size), rows):
        features = view(to_unit(part))
        features = features.to(torch.float32 if features.device.type == "mps" else torch.float64)
        here, first = slice(first, first + len(part)), first + len(part)
        totals = totals or [features.new_zeros(p.count, features.shape[1]) for p in partitions]
        for total, partition in zip(totals, partitions, strict=True):
            total.index_add_(0, partition.ids[here], features)
    assert totals, "the source set has images: check_cells refuses an empty one"
    sizes = [count_ids(p.ids, p.count).clamp_min(1) for p in partitions]
    return [(total / size[:, None]).to(torch.float32) for total, size in zip(totals, sizes, strict=True)]


def count_ids(ids: Tensor, count: int) -> Tensor:
    """How often each of 0 .. count − 1 occurs in ids (N,), int64 (count,): `bincount` reads its largest id back."""
    return ids.new_zeros(count).index_add_(0, ids, torch.ones_like(ids))


@torch.no_grad()
def image_features(view: View, images: Pixels, rows: Tensor | None = None) -> Tensor:
    """Features of all images, or of those at `rows` (n,), float32 (n, F)."""
    return torch.cat([view(to_unit(part)) for part in images.batches(view.at_once(images.image_size), rows)])
