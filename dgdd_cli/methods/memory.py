"""How much memory a distillation takes, from the sizes of its tensors: nothing runs for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from dgdd_cli.config import Probes, Recipe
from dgdd_cli.data.images import Images
from dgdd_cli.matching.gradient import gradient_distance, matched_gradient
from dgdd_cli.matching.readout import features, readout_named
from dgdd_cli.methods import method_of
from dgdd_cli.networks import Backbone, blueprint
from dgdd_cli.networks.footprint import ACTIVATIONS, COPIES, MOST, backward_bytes, footprint, peak_bytes
from dgdd_cli.networks.slices import KEPT

STATES = 5  # tensors of the size of the synthetic images: they, their velocity, gradient, step and successors
SPECTRA = 3  # of that size for each gradient that surgery looks at: itself, its spectrum and what is made of it
KERNELS = 6  # matrices of all pairs at a time: five bandwidths and the distances


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a run's cost depends on beside its recipe; `group_cells` are those of a risk, `tiles` the training
    images that a stored one holds."""

    images: int
    classes: int
    domains: int
    image_size: int
    ipc: int
    group_cells: int = 0
    largest_domain: int | None = None  # images; None: not known
    tiles: int = 1

    @property
    def of_class(self) -> int:
        """Training images of a class."""
        return self.ipc * self.tiles

    @property
    def synthetic(self) -> int:
        return self.classes * self.of_class

    @property
    def pixels(self) -> int:
        return 3 * self.image_size**2


def sizes_of(source: Images, *, ipc: int, group_cells: int = 0, tiles: int = 1) -> Sizes:
    """The sizes of a run from a source set."""
    return Sizes(
        len(source),
        len(source.class_names),
        len(source.domain_names),
        source.image_size,
        ipc,
        group_cells,
        int(source.counts().sum(0).max()),
        tiles,
    )


class Peaks(NamedTuple):
    """Bytes of all tensors while real images are looked at, without gradients, and during a step."""

    looking: int
    stepping: int


def tensor_peaks(recipe: Recipe, sizes: Sizes) -> Peaks:
    """The tensors of a run, without the source images and the bank."""
    probes = recipe.probes
    if probes is None:
        return Peaks(0, 0)
    state = 4 * STATES * sizes.synthetic * sizes.pixels
    looking = state + _looking(recipe, probes, sizes)
    if recipe.matching is None:
        return Peaks(looking, 0)
    if method_of(recipe.matching).trains:
        training = 0
        if (life := recipe.trajectory) and life.inner:
            training = min(life.batch, sizes.synthetic) if life.data == "synthetic" else life.batch
        return Peaks(looking if probes.select == "kmeans" else 0, state + _gradient_step(probes, sizes, training))
    return Peaks(looking, state + _feature_step(recipe, probes, sizes))


def bank_bytes(recipe: Recipe, sizes: Sizes) -> int:
    """Bytes of the statistics in a bank."""
    probes = recipe.probes
    if probes is None or recipe.matching is None or probes.bank_size is None:
        return 0
    return 4 * probes.bank_size * statistics_rows(recipe, probes, sizes) * _features(recipe, probes, sizes)


def statistics_rows(recipe: Recipe, probes: Probes, sizes: Sizes) -> int:
    """How many features a probe holds: those of each cell and each part, or of their samples."""
    group_cells = sizes.group_cells * (sizes.domains if recipe.surgery else 1)
    return (sizes.classes * sizes.domains + group_cells) * (probes.reservoir or 1)


def network_bytes(probes: Probes, sizes: Sizes) -> int:
    """Bytes of the weights of a network."""
    return sum(parameter.nbytes for parameter in _form(probes, sizes).parameters())


def compute_dtype(probes: Probes) -> torch.dtype:
    """The dtype of the maps of a probe."""
    return torch.bfloat16 if probes.precision == "bfloat16" else torch.float32


def images_seen(recipe: Recipe, probes: Probes, sizes: Sizes) -> int:
    """How many real images the statistics of a probe are made of."""
    if probes.reservoir:
        return statistics_rows(recipe, probes, sizes)
    if recipe.matching and probes.bank_size is None:
        return min(sizes.images, probes.batch * statistics_rows(recipe, probes, sizes))
    return sizes.images


def _looking(recipe: Recipe, probes: Probes, sizes: Sizes) -> int:
    """A pass over real images, of which as many are taken at once as there is room for."""
    width, dtype = probes.width, compute_dtype(probes)
    peak = footprint(probes.network, image_size=sizes.image_size, width=width, dtype=dtype).peak
    seen = images_seen(recipe, probes, sizes)
    if recipe.matching and probes.bank_size is not None and not sizes.group_cells:  # a bank is made domain by domain
        seen = min(seen, sizes.classes * probes.reservoir if probes.reservoir else sizes.largest_domain or seen)
    return peak * max(1, min(MOST, seen, ACTIVATIONS // peak))


def _feature_step(recipe: Recipe, probes: Probes, sizes: Sizes) -> int:
    size, width, dtype = sizes.image_size, probes.width, compute_dtype(probes)
    kept = footprint(probes.network, image_size=size, width=width, dtype=dtype).kept
    part = min(sizes.synthetic, max(1, KEPT // kept))
    taken = backward_bytes(probes.network, images=part, image_size=size, width=width, of="pixels", dtype=dtype)
    taken += 4 * COPIES * part * sizes.pixels
    read, products = _features(recipe, probes, sizes), sizes.domains + 1 if recipe.surgery else 0
    taken += 4 * sizes.synthetic * (read * (products + 2) + SPECTRA * products * sizes.pixels)
    if probes.reservoir:
        targets, compared = (
            statistics_rows(recipe, probes, sizes) // probes.reservoir,
            sizes.of_class + probes.reservoir,
        )
        taken += 4 * targets * (KERNELS * compared**2 + 2 * compared * read)
    return taken


def _gradient_step(probes: Probes, sizes: Sizes, training: int) -> int:
    """The larger of the gradients of a class's real images and the second derivatives of its synthetic ones."""
    size, width = sizes.image_size, probes.width
    real = min(max(probes.batch, training), sizes.images)
    network = _form(probes, sizes)
    synthetic = torch.empty(sizes.of_class, 3, size, size, requires_grad=True, device="meta")

    def twice() -> object:
        wanted = [parameter.detach() for parameter in network.parameters() if parameter.ndim > 1]
        found = matched_gradient(network, network(synthetic).logsumexp(1).mean(), differentiable=True)
        return torch.autograd.grad(gradient_distance(wanted, found), synthetic)

    once = backward_bytes(probes.network, images=real, image_size=size, width=width, of="weights")
    return max(once + 4 * COPIES * real * sizes.pixels, peak_bytes(twice)) + 3 * network_bytes(probes, sizes)


def _features(recipe: Recipe, probes: Probes, sizes: Sizes) -> int:
    """How many features are read out of an image."""
    readout = readout_named(recipe.matching.readout) if recipe.matching else features
    image = torch.empty(1, 3, sizes.image_size, sizes.image_size, device="meta")
    return readout(_form(probes, sizes).eval(), image).shape[1]


def _form(probes: Probes, sizes: Sizes) -> Backbone:
    return blueprint(probes.network, num_classes=sizes.classes, image_size=sizes.image_size, width=probes.width)
