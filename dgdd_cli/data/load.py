"""From a name or a path to a DomainDataset: the pixels of the domains asked for, and of no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dgdd_cli.data.catalog import CatalogEntry
from dgdd_cli.data.dataset import DomainDataset, Normalisation
from dgdd_cli.data.decode import Failure
from dgdd_cli.data.hub import fetch
from dgdd_cli.data.locate import Located, locate, resolve_domain
from dgdd_cli.data.parquet import parquet_contents
from dgdd_cli.data.read_domain import read_domain
from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.progress import Progress, silent
from dgdd_cli.runtime.context import Context
from dgdd_cli.storage.cache import Cache
from dgdd_cli.text import plural, printable

__all__ = ["Located", "Reading", "load_dataset", "locate", "read", "read_as", "resolve_domain"]

SMALLEST, LARGEST = 8, 1024  # pixels
MOST_NAMED = 20  # images that cannot be read before reading stops


def read(
    located: Located,
    *,
    image_size: int,
    domains: Sequence[str] | None = None,
    skip_corrupt: bool = False,
    cache: Cache | None = None,
    hub_cache: Path | None = None,
    offline: bool = False,
    progress: Progress = silent,
) -> DomainDataset:
    """Decode the named domains (default: all), and no others, at image_size x image_size pixels.

    Domain indices follow the order given; the class list is always the whole one. Raises UsageError for a size outside
    8..1024 or a domain named twice, DataError for what cannot be read, which names up to 20 images; with `skip_corrupt`
    corrupt images are left out, counted and listed.
    """
    if not SMALLEST <= image_size <= LARGEST:
        raise UsageError(f"image size {image_size} is not between {SMALLEST} and {LARGEST}", hint="--image-size 32")
    wanted = [resolve_domain(located, name) for name in (located.domain_names if domains is None else domains)]
    if len(set(wanted)) != len(wanted):
        raise UsageError(f"a domain is named twice: {', '.join(wanted)}", hint="name each domain once")
    contents = located.contents
    if contents is None:
        assert located.entry is not None  # what has no contents yet is a set of the catalog, on the hub
        paths = fetch(
            located.entry, looked_in=located.looked_in, hub_cache=hub_cache, offline=offline, progress=progress
        )
        contents = parquet_contents(paths, located.entry)
    if contents.draw is not None:
        return _dataset(located, wanted, *contents.draw(wanted, image_size, progress))
    listed = [contents.samples(name) for name in wanted]
    samples, notes = [own for own, _ in listed], [*contents.notes, *(note for _, own in listed for note in own)]
    total = sum(map(len, samples))
    images = torch.empty(total, 3, image_size, image_size, dtype=torch.uint8)  # (N, 3, H, W), filled domain by domain
    labels = torch.empty(total, dtype=torch.int64)
    index = torch.empty(total, dtype=torch.int64)
    unread: list[tuple[str, Failure]] = []
    filled = 0
    for d, name in enumerate(wanted):
        out = images[filled : filled + len(samples[d])]
        most = None if skip_corrupt else MOST_NAMED - len(unread)
        domain = read_domain(name, samples[d], out, most=most, cache=cache, progress=progress)
        here = slice(filled, filled + len(domain.kept))
        labels[here] = torch.tensor([sample.label for sample in samples[d]], dtype=torch.int64)[domain.kept]
        index[here] = d
        notes += domain.notes
        unread += [(printable(samples[d][failure.index].name), failure) for failure in domain.failures]
        filled += len(domain.kept)
        if not skip_corrupt and len(unread) >= MOST_NAMED:
            break
    if unread and not skip_corrupt:
        raise _cannot_be_read(unread)
    if unread:
        names = [name for name, _ in unread]
        more = f" and {len(names) - 4:,} more" if len(names) > 4 else ""
        notes.append(f"left out {plural(len(names), 'corrupt image')}: {', '.join(names[:4])}{more}")
    skipped = tuple((name, failure.reason) for name, failure in unread)
    return _dataset(located, wanted, images[:filled], labels[:filled], index[:filled], skipped=skipped, notes=notes)


def _cannot_be_read(unread: Sequence[tuple[str, Failure]]) -> DataError:
    cures = [failure.cure for _, failure in unread if failure.cure]
    hint = "\n".join([*dict.fromkeys(cures), "--skip-corrupt leaves such images out and counts them"])
    if len(unread) == 1:
        ((name, failure),) = unread
        return DataError(f"{name} cannot be read: {failure.reason}", hint=hint)
    shown = unread[:MOST_NAMED]
    reasons = dict.fromkeys(failure.reason for _, failure in shown)
    which = "; ".join(f"{', '.join(n for n, failure in shown if failure.reason == why)} ({why})" for why in reasons)
    number = f"{len(unread)} images" if len(unread) < MOST_NAMED else f"{MOST_NAMED} images or more"
    return DataError(f"{number} cannot be read: {which}", hint=hint)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a user wants images read, whichever they are."""

    skip_corrupt: bool = False
    offline: bool = False


def read_as(
    context: Context, reading: Reading, located: Located, *, image_size: int, domains: Sequence[str]
) -> DomainDataset:
    """`read` in the way that the user chose."""
    return read(
        located,
        image_size=image_size,
        domains=domains,
        skip_corrupt=reading.skip_corrupt,
        offline=reading.offline,
        cache=context.cache,
        progress=context.progress,
    )


def load_dataset(
    name_or_path: str | Path,
    *,
    data_dir: Path | None = None,
    image_size: int = 32,
    domains: Sequence[str] | None = None,
    skip_corrupt: bool = False,
    cache: Cache | None = None,
    hub_cache: Path | None = None,
    offline: bool = False,
    progress: Progress = silent,
) -> DomainDataset:
    """`read(locate(...))` in one step; a `Path` is always a place, never a catalog name."""
    name = str(name_or_path.absolute()) if isinstance(name_or_path, Path) else name_or_path
    return read(
        locate(name, data_dir=data_dir),
        image_size=image_size,
        domains=domains,
        skip_corrupt=skip_corrupt,
        cache=cache,
        hub_cache=hub_cache,
        offline=offline,
        progress=progress,
    )


def _dataset(
    located: Located,
    wanted: Sequence[str],
    images: Tensor,
    labels: Tensor,
    index: Tensor,
    *,
    skipped: tuple[tuple[str, str], ...] = (),
    notes: Sequence[str] = (),
) -> DomainDataset:
    entry: CatalogEntry | None = located.entry
    return DomainDataset(
        name=located.name,
        images=images,
        labels=labels,
        domains=index,
        class_names=located.class_names,
        domain_names=tuple(wanted),
        licence=entry.licence if entry else "not stated",
        normalisation=Normalisation(entry.mean, entry.std, entry.normalisation_origin) if entry else None,
        skipped_files=skipped,
        notes=tuple(dict.fromkeys(notes)),
    )
