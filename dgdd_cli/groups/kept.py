"""K-means groups, kept as groups files in the cache so that every later call uses the very same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

import dgdd_cli
from dgdd_cli.data.images import Images
from dgdd_cli.errors import DataError
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
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.software import software
from dgdd_cli.storage.cache import Key
from dgdd_cli.text import plural

_VERSION = 2  # to be raised whenever the same images get other groups


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked for: `number` groups of all images or within each class by their `features`; those below
    `minimum` are merged."""

    number: int
    per: Per
    features: Features
    minimum: int | Callable[[int], int] = 1


@dataclass(frozen=True, slots=True, eq=False)
class KeptGroups:
    """G groups of N images, where they are kept (None: nowhere), and, of those that were `made`, what to know."""

    assignments: Tensor  # (N,) int64 in [0, G)
    classes: Tensor | None  # (G,) int64, of groups within classes
    number: int
    path: Path | None
    made: bool = False
    notes: tuple[str, ...] = ()


def kept_groups(context: Context, dataset: Images, kind: Kind) -> KeptGroups:
    """The groups of a kind, read from the cache, or made and kept there. Raises what `group_dataset` raises."""
    cache, key = context.cache, _key(context, dataset, kind)
    verified = partial(_verified, context, dataset=dataset, kind=kind)
    if cache is not None and (file := cache.get(key, verified)) is not None:
        return KeptGroups(file.groups, file.group_classes, file.manifest.groups, cache.path(key))
    found = group_dataset(
        context, dataset, groups=kind.number, features=kind.features, per=kind.per, minimum=kind.minimum
    )
    path = None
    if cache is not None:
        path = cache.put(key, lambda at: write_grouping(at, dataset, found, seed=context.seed, overwrite=True))
    return KeptGroups(found.assignments, found.group_classes, len(found.sizes), path, made=True, notes=found.notes)


def write_grouping(path: Path, dataset: Images, found: Grouping, *, seed: int, overwrite: bool) -> GroupsManifest:
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


def _key(context: Context, dataset: Images, kind: Kind) -> Key:
    counts = dataset.counts().sum(1).tolist()
    choices = {
        "dataset": dataset.name,
        "domains": list(dataset.domain_names),
        "image_size": dataset.image_size,
        "number": kind.number,
        "per": kind.per,
        "features": kind.features,
        "seed": context.seed,
    }
    facts = {
        "images": dataset.fingerprint(),
        "rows": hashlib.sha256(dataset.domains.numpy().tobytes()).hexdigest(),  # their order: no fingerprint knows it
        "minimum": kind.minimum if isinstance(kind.minimum, int) else [kind.minimum(count) for count in counts],
        "precision": PRECISION,
        "version": _VERSION,  # not how a processor rounds: groups once found stay those groups
        "software": [dgdd_cli.__version__, torch.__version__, metadata.version("scikit-learn")],
    }
    what = f"the {plural(kind.number, 'cluster')} of {', '.join(dataset.domain_names)}"
    return Key("groups", what, choices, facts)


def _verified(context: Context, path: Path, dataset: Images, kind: Kind) -> GroupsFile:
    """The kept file; raises DataError unless it holds what would be made now."""
    file = read_groups(path)
    check_groups_match(file, dataset)
    made, classes = file.manifest, file.group_classes
    if (made.per, made.seed) != (kind.per, context.seed) or (classes is None) != (kind.per == "all"):
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
