"""K-means clusters of a target's images, made once and kept: "cluster-min" of arXiv 2402.04676 needs fixed ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dgdd_cli.bundle.groups import GroupsFile, check_groups_match, read_groups
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.engine.grouping import group_dataset
from dgdd_cli.engine.kept_groups import write_grouping
from dgdd_cli.errors import DataError, DgddError
from dgdd_cli.progress import Progress

SEED = 0  # the clusters belong to the images, not to a run: --seed does not move them


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Clusters across classes of one target's images, and where they are kept (None: nowhere)."""

    assignments: Tensor  # (n,) int64 in [0, number)
    number: int
    path: Path | None


def clusters_of(
    dataset: DomainDataset,
    number: int,
    *,
    cache_dir: Path | None,
    note: Callable[[str], None],
    warn: Callable[[str], None],
    progress: Progress,
) -> Clusters:
    """K-means on the pixels of all images across classes; kept by fingerprint, so that later calls use the very same.

    `note` hears whether they were made or found, `warn` why kept ones could not be used or new ones not be kept.
    """
    what = f"{number} clusters of {', '.join(dataset.domain_names)}"
    path = None if cache_dir is None else cache_dir / "groups" / f"{dataset.fingerprint()}-kmeans-{number}.safetensors"
    if path is not None and path.exists():
        try:
            file = _kept(path, dataset, number)
        except DataError as error:
            warn(f"the kept {what} cannot be used and are rebuilt: {error.message}")
        else:
            note(f"{what}: those kept in {path}")
            return Clusters(file.groups, file.manifest.groups, path)
    found = group_dataset(dataset, groups=number, features="pixels", per="all", seed=SEED, progress=progress)
    for line in found.notes:
        warn(line)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_grouping(path, dataset, found, seed=SEED, overwrite=True)
            note(f"{what}: made, and kept in {path}")
        except (DgddError, OSError) as error:
            warn(f"the {what} could not be kept: {error}")
            path = None
    return Clusters(found.assignments, len(found.sizes), path)


def _kept(path: Path, dataset: DomainDataset, number: int) -> GroupsFile:
    """The kept file; raises DataError unless it holds just these clusters."""
    file = read_groups(path)
    check_groups_match(file, dataset)
    made = file.manifest
    if made.per != "all" or made.seed != SEED or made.groups > number or not made.features.startswith("pixels"):
        raise DataError(f"{path}: {made.groups} groups by {made.features} (per {made.per}, seed {made.seed})")
    return file
