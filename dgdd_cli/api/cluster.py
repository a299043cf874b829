"""`cluster` from Python: a dataset in, groups of its images out."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dgdd_cli.api.reading import cache_at
from dgdd_cli.data.images import Images
from dgdd_cli.data.load import Reading, locate, read_as
from dgdd_cli.data.locate import resolve_domains
from dgdd_cli.errors import UsageError
from dgdd_cli.groups.features import Features
from dgdd_cli.groups.file import GroupsFile, GroupsManifest, read_groups
from dgdd_cli.groups.grouping import Grouping, Per, group_dataset, smallest_where_splittable
from dgdd_cli.groups.kept import write_grouping
from dgdd_cli.progress import Progress, silent
from dgdd_cli.runtime.context import Context
from dgdd_cli.storage.atomic import check_output
from dgdd_cli.storage.reserve import reserved

log = logging.getLogger("dgdd")


@dataclass(frozen=True, slots=True)
class Clustered:
    """The images that were grouped, their groups, and where they are written."""

    images: Images
    found: Grouping
    path: Path
    manifest: GroupsManifest


def cluster_to_file(
    context: Context,
    dataset: str,
    out: Path,
    *,
    groups: int | Literal["auto"],
    features: Features,
    per: Per,
    domains: str | None,
    image_size: int | None,
    minimum: int | None,
    data: Path | None,
    reading: Reading,
    force: bool,
) -> Clustered:
    """Group the images of a dataset and write the groups file to `out`, or beside it where that is taken meanwhile."""
    located = locate(dataset, data_dir=data)
    wanted = list(located.domain_names) if domains is None else resolve_domains(located, domains)
    if not wanted:
        raise UsageError("--domains names no domain", hint="--domains photo,cartoon, or leave it out for all")
    with reserved(out) as reservation:
        size = image_size or (located.entry.default_image_size if located.entry else 32)
        images = read_as(context, reading, located, image_size=size, domains=wanted)
        found = group_dataset(
            context,
            images,
            groups=groups,
            features=features,
            per=per,
            minimum=minimum or (smallest_where_splittable if per == "class" else 1),
        )
        for line in (*images.notes, *found.notes):
            log.warning("%s", line)
        written, manifest = reservation.write(
            lambda path, over: write_grouping(path, images, found, seed=context.seed, overwrite=over), overwrite=force
        )
    if written != out:
        log.warning("%s was taken meanwhile: the groups are %s", out, written)
    return Clustered(images, found, written, manifest)


def cluster(
    dataset: str | Path,
    *,
    groups: int | Literal["auto"] = 10,
    features: Features = "pixels",
    per: Per = "all",
    domains: str | None = None,
    image_size: int | None = None,
    minimum: int | None = None,
    seed: int = 0,
    data: str | Path | None = None,
    cache_dir: str | Path | None = None,
    out: str | Path | None = None,
    force: bool = False,
    skip_corrupt: bool = False,
    offline: bool = False,
    progress: Progress = silent,
) -> GroupsFile:
    """Group the images of a dataset as `dgdd cluster` does; with `out` the groups file is written there too.

    Keywords are the flags of the command line. Raises DgddError as the command line exits.
    """
    if out is not None:
        check_output(Path(out), overwrite=force)
    with tempfile.TemporaryDirectory(prefix="dgdd-") as aside:
        done = cluster_to_file(
            Context(seed, cache=cache_at(cache_dir), progress=progress),
            str(dataset.absolute()) if isinstance(dataset, Path) else dataset,
            Path(aside, "groups.safetensors") if out is None else Path(out),
            groups=groups,
            features=features,
            per=per,
            domains=domains,
            image_size=image_size,
            minimum=minimum,
            data=None if data is None else Path(data),
            reading=Reading(skip_corrupt, offline),
            force=force,
        )
        return read_groups(done.path)
