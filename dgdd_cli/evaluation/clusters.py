"""K-means clusters of a target's images, made once and kept: "cluster-min" of arXiv 2402.04676 needs fixed ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.groups.kept import KeptGroups, Kind, kept_groups
from dgdd_cli.progress import Progress
from dgdd_cli.text import plural

SEED = 0  # the clusters belong to the images, not to a run: --seed does not move them


def clusters_of(
    dataset: DomainDataset,
    number: int,
    *,
    cache_dir: Path | None,
    note: Callable[[str], None],
    warn: Callable[[str], None],
    progress: Progress,
) -> KeptGroups:
    """K-means on the pixels of all images across classes; kept by fingerprint, so that later calls use the very same.

    `note` hears whether they were made or found, `warn` why kept ones could not be used or new ones not be kept.
    """
    what = f"{plural(number, 'cluster')} of {', '.join(dataset.domain_names)}"
    found = kept_groups(dataset, Kind(number, "all", "pixels", SEED), cache=cache_dir, progress=progress)
    if found.refused:
        warn(f"the kept {what} cannot be used and are rebuilt: {found.refused}")
    for line in found.notes:
        warn(line)
    if found.unkept:
        warn(f"the {what} could not be kept: {found.unkept}")
    elif found.path is not None:
        note(f"{what}: made, and kept in {found.path}" if found.made else f"{what}: those kept in {found.path}")
    return found
