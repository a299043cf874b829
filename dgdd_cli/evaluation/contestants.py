"""Who takes part in a comparison: bundles as they decode; equal-budget baselines and the ceiling of real images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from torch import Tensor

from dgdd_cli.bundle.read import Bundle
from dgdd_cli.config import Probes, Protocol, resolve
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.held import Held
from dgdd_cli.data.images import Images
from dgdd_cli.errors import UnknownName
from dgdd_cli.evaluation.contestant import Contestant, TrainingSet, real_images
from dgdd_cli.probes.centroid_rows import centroid_rows
from dgdd_cli.runtime.context import Context
from dgdd_cli.synthesis.initial import balanced_rows, even_rows, random_rows

BASELINES = ("random", "balanced-random", "kmeans", "random-jpeg", "whole", "whole-balanced")


def check_baselines(names: Iterable[str]) -> None:
    """Raise UnknownName for a baseline that does not exist."""
    for name in names:
        if name not in BASELINES:
            raise UnknownName("baseline", name, BASELINES)


def baseline_rows(context: Context, name: str, source: Images, *, ipc: int, repeat: int) -> Tensor:
    """Rows of the source set that a baseline other than `whole` trains on, int64: every repeat draws its own.

    `kmeans` is the method of that name, for each repeat with another random network.
    """
    generator = context.stream("baseline", name, repeat)
    if name == "kmeans":
        probes = resolve({"dataset": source.name, "method": name}).recipe.probes or Probes()
        return centroid_rows(context, source, probes, ipc=ipc, index=repeat, generator=generator)
    if name == "whole-balanced":
        return even_rows(source, generator)
    return (random_rows if name == "random" else balanced_rows)(source, ipc, generator)


def _of(whole: bool, balanced: bool, ipc: int) -> str:
    if not whole:
        return f"{ipc} per class"
    return "all images, cells alike" if balanced else "all images"


def bundle_contestant(bundle: Bundle, protocol: Protocol) -> Contestant:
    """A bundle as it decodes: its uint8 training images, what they are taught, its normalisation."""
    manifest, (images, labels, domains) = bundle.manifest, bundle.labelled()
    own = TrainingSet(Held(images), labels, domains)

    return Contestant(
        name=str(bundle.path),
        method=manifest.method.name,
        kind="bundle",
        sources=manifest.domains,
        normalisation=bundle_normalisation(bundle),
        epochs=protocol.epochs,
        images=len(bundle.images),
        stored=len(bundle),
        stored_bytes=bundle.training_bytes,
        pace=len(bundle) if protocol.pace == "stored" else len(bundle.images),
        draw=lambda repeat: own,
        fixed=True,
        label_kind=labels.kind,
        bundle_id=manifest.id,
        fingerprints=manifest.source.domain_fingerprints,
    )


def bundle_normalisation(bundle: Bundle) -> Normalisation:
    """The normalisation that the manifest declares."""
    declared = bundle.manifest.normalise
    return Normalisation(declared.mean, declared.std, declared.origin)


def baseline_contestant(
    context: Context,
    name: str,
    source: Images,
    *,
    ipc: int,
    normalisation: Normalisation,
    protocol: Protocol,
    left_out: str = "",
    fingerprints: Mapping[str, str] | None = None,
) -> Contestant:
    """Real source images under the same protocol; the ceilings `whole` and `whole-balanced`, where every cell weighs
    alike because the smaller ones repeat, have their own number of epochs and as many steps as each other.

    `left_out`: what of the sources `source` lacks, in words; `fingerprints`: of the whole sources.
    """
    whole, balanced = name.startswith("whole"), name == "whole-balanced"

    @cache
    def rows_of(repeat: int) -> Tensor:
        return baseline_rows(context, name, source, ipc=ipc, repeat=repeat)

    def draw(repeat: int) -> TrainingSet:
        return real_images(source) if name == "whole" else real_images(source, rows_of(repeat))

    images = len(source) if whole else ipc * len(source.class_names)
    return Contestant(
        name=f"{name} ({_of(whole, balanced, ipc)}; {', '.join(source.domain_names)}{left_out})",
        method=name,
        kind="baseline",
        sources=source.domain_names,
        normalisation=normalisation,
        epochs=protocol.whole_epochs if whole else protocol.epochs,
        images=images,
        stored=images,
        stored_bytes=images * (3 * source.image_size**2 + source.labels.element_size()),
        pace=images,
        draw=draw,
        fixed=name == "whole",
        fingerprints=fingerprints or source.domain_fingerprints(),
        source=source.fingerprint(),
    )
