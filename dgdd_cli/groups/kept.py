"""K-means groups, kept as groups files in the cache folder so that every later call uses the very same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import dgdd_cli
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.errors import DataError, DgddError
from dgdd_cli.groups.features import Features, describe
from dgdd_cli.groups.file import (
    GroupsFacts,
    GroupsFile,
    GroupsManifest,
    check_groups_match,
    read_groups,
    write_groups,
)
from dgdd_cli.groups.grouping import PRECISION, Grouping, Per, group_dataset
from dgdd_cli.progress import Progress
from dgdd_cli.runtime.software import software
from dgdd_cli.text import plural

_VERSION = 2  # to be raised whenever the same images get other groups


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked for: `number` groups of all images or within each class by their `features`; those below
    `minimum` are merged."""

    number: int
    per: Per
    features: Features
    seed: int
    minimum: int | Callable[[int], int] = 1


@dataclass(frozen=True, slots=True, eq=False)
class KeptGroups:
    """G groups of N images, where they are kept (None: nowhere), and what a person may want to know of how they came.

    `notes` are those of groups that were `made`; `refused` says why a file that lay there was not used, `unkept` why
    what was made is not kept.
    """

    assignments: Tensor  # (N,) int64 in [0, G)
    classes: Tensor | None  # (G,) int64, of groups within classes
    number: int
    path: Path | None
    made: bool = False
    notes: tuple[str, ...] = ()
    refused: str | None = None
    unkept: str | None = None


def kept_groups(dataset: DomainDataset, kind: Kind, *, cache: Path | None, progress: Progress) -> KeptGroups:
    """The groups of a kind, read from the folder `cache`, or made and kept there.

    A kept file that does not verify is replaced; a folder that cannot be written to costs only the keeping. Raises
    what `group_dataset` raises.
    """
    path = None if cache is None else _path(cache, dataset, kind)
    refused = unkept = None
    if path is not None and path.exists():
        try:
            file = _verified(path, dataset, kind)
        except DataError as error:
            refused = error.message
        else:
            return KeptGroups(file.groups, file.group_classes, file.manifest.groups, path)
    found = group_dataset(
        dataset,
        groups=kind.number,
        features=kind.features,
        per=kind.per,
        seed=kind.seed,
        minimum=kind.minimum,
        progress=progress,
    )
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_grouping(path, dataset, found, seed=kind.seed, overwrite=True)
        except (DgddError, OSError) as error:  # a full disk must not end a run that can do without
            path, unkept = None, str(error)
    return KeptGroups(
        found.assignments,
        found.group_classes,
        len(found.sizes),
        path,
        made=True,
        notes=found.notes,
        refused=refused,
        unkept=unkept,
    )


def write_grouping(
    path: Path, dataset: DomainDataset, found: Grouping, *, seed: int, overwrite: bool
) -> GroupsManifest:
    """Write the groups that were found in a dataset as a groups file; raises as `write_groups` does."""
    facts = GroupsFacts(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint(),
        domain_fingerprints=dataset.domain_fingerprints(),
        image_size=dataset.image_size,
        classes=dataset.class_names,
        domains=dataset.domain_names,
        per="all" if found.group_classes is None else "class",
        features=found.features,
        seed=seed,
        silhouette=found.silhouette,
        purity_class=found.purity_class,
        purity_domain=found.purity_domain,
        software=software(),
    )
    return write_groups(
        path, found.assignments, found.centroids, facts, group_classes=found.group_classes, overwrite=overwrite
    )


def _path(cache: Path, dataset: DomainDataset, kind: Kind) -> Path:
    counts = dataset.counts().sum(1).tolist()
    least = kind.minimum if isinstance(kind.minimum, int) else [kind.minimum(count) for count in counts]
    facts = [
        _VERSION,
        dataset.fingerprint(),
        *(dataset.domain_names, dataset.domains.tolist()),  # the order of the rows, which the fingerprint does not know
        *(kind.number, kind.per, kind.features, kind.seed, least, PRECISION),
        *(dgdd_cli.__version__, torch.__version__),  # not how a processor rounds: groups once found stay those groups
    ]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return cache / "groups" / f"{digest}-{kind.per}-kmeans-{kind.number}-{kind.features}-seed-{kind.seed}.safetensors"


def _verified(path: Path, dataset: DomainDataset, kind: Kind) -> GroupsFile:
    """The kept file; raises DataError unless it holds what would be made now."""
    file = read_groups(path)
    check_groups_match(file, dataset)
    made, classes = file.manifest, file.group_classes
    if (made.per, made.seed) != (kind.per, kind.seed) or (classes is None) != (kind.per == "all"):
        raise DataError(f"{path} holds groups of another kind (per {made.per}, seed {made.seed})")
    if made.features != describe(dataset, kind.features) or 0 in made.sizes:
        raise DataError(
            f"{path} holds groups of another kind ({made.features}, smallest of {plural(min(made.sizes), 'image')})"
        )
    most = made.groups if classes is None else int(torch.bincount(classes).max())
    if most > kind.number:
        raise DataError(
            f"{path} holds {plural(most, 'group')}{'' if classes is None else ' of a class'}, not {kind.number}"
        )
    return file
