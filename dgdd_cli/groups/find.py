"""Groups of any dataset, by name, by K-means within classes, or from a file: what a risk is taken over."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dgdd_cli.data.images import Images
from dgdd_cli.errors import DataError, UnknownName, UsageError
from dgdd_cli.groups.features import Features, describe
from dgdd_cli.groups.file import check_groups_match, read_groups
from dgdd_cli.groups.grouping import smallest_group
from dgdd_cli.groups.kept import Kind, kept_groups
from dgdd_cli.runtime.context import Context
from dgdd_cli.text import plural

NAMED = ("domain", "class-domain")
# Of `kmeans:K`, as in the paper. No features find every rare style: of PACS the spectrum finds sketches and pixels the
# paintings (examples/results/rare-pacs*.md); a file of `dgdd cluster --features` takes others.
FEATURES: Features = "pixels"


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """G groups of N images, none of them empty; `within_class`: no group holds images of two classes.

    `notes`: what a person should know of them, a line each. `digest`: sha256 (hex) of the assignments.
    """

    assignments: Tensor  # (N,) int64 in [0, G)
    names: tuple[str, ...]
    sizes: Tensor  # (G,) int64
    within_class: bool
    notes: tuple[str, ...]
    digest: str
    features: str | None = None  # of `kmeans:K`, in words: what images were compared by


def find_groups(context: Context, dataset: Images, spec: str) -> Groups:
    """The groups that `spec` names: `domain`, `class-domain`, `kmeans:K` within each class, or a file of dgdd cluster.

    K-means groups come from `FEATURES` and the seed; those smaller than `smallest_group` are merged into the nearest.
    They are kept as a groups file in the cache, by the dataset's fingerprint, K, features and seed: a later call uses
    the very same.

    Raises UsageError for a spec that is none of these and for more groups than a class has images, DataError for a
    file that is not valid or was made for other images, and for a dataset without images.
    """
    if len(dataset) == 0:
        raise DataError(f"{dataset.name} has no images to group")
    if spec == "domain":
        return _groups(dataset, dataset.domains, dataset.domain_names, within_class=False)
    if spec == "class-domain":
        pairs = itertools.product(dataset.class_names, dataset.domain_names)
        cells = dataset.labels * len(dataset.domain_names) + dataset.domains
        return _groups(dataset, cells, [f"{name} in {domain}" for name, domain in pairs], within_class=True)
    if spec.partition(":")[0] == "kmeans":
        return _clusters(context, dataset, _number(spec))
    return _of_file(dataset, spec)


def _groups(
    dataset: Images,
    ids: Tensor,
    names: Sequence[str],
    *,
    within_class: bool,
    notes: Iterable[str] = (),
    features: str | None = None,
) -> Groups:
    """Groups from ids (N,) into `names`, without those that have no image."""
    used, assignments = ids.unique(return_inverse=True)
    kept = tuple(names[number] for number in used.tolist())
    sizes = torch.bincount(assignments, minlength=len(kept))
    said = list(notes)
    if alone := [name for name, size in zip(kept, sizes.tolist(), strict=True) if size == 1]:
        counted = plural(len(alone), "group has", "groups have")
        said.append(f"{counted} a single image, which a risk may chase: {_few(alone)}")
    classes = len(dataset.labels.unique())
    if len(kept) == 1:
        said.append("every image is in one group: a risk over groups is the mean")
    elif within_class and len(kept) == classes:
        said.append("every class is one group: a risk over the groups of a class is the mean")
    digest = hashlib.sha256(assignments.contiguous().numpy().tobytes()).hexdigest()
    return Groups(assignments, kept, sizes, within_class, tuple(said), digest, features)


def _of_file(dataset: Images, spec: str) -> Groups:
    path = Path(spec).expanduser()
    if not path.exists():
        files = sorted(map(str, path.parent.glob("*.safetensors")))[:20]
        raise UnknownName("groups", spec, (*NAMED, "kmeans:5", *files), hint="or a file that dgdd cluster wrote")
    file = read_groups(path)
    check_groups_match(file, dataset)
    empty = sum(size == 0 for size in file.manifest.sizes)
    notes = [f"left out for want of images: {empty} of the {file.manifest.groups} groups in {path}"] if empty else []
    classes = file.group_classes
    names = [f"group {g + 1}" for g in range(file.manifest.groups)] if classes is None else _within(dataset, classes)
    return _groups(dataset, file.groups, names, within_class=classes is not None, notes=notes)


def _within(dataset: Images, group_classes: Tensor) -> list[str]:
    """A name for each group: its class and its number in it, from 1."""
    numbers = [itertools.count(1) for _ in dataset.class_names]
    return [f"{dataset.class_names[c]} cluster {next(numbers[c])}" for c in group_classes.tolist()]


def _number(spec: str) -> int:
    if not re.fullmatch(r"kmeans:[1-9][0-9]{0,5}", spec):
        raise UsageError(f"{spec[:40]!r} names no number of groups from 1 to 999999", hint="--groups kmeans:5")
    return int(spec.partition(":")[2])


def _clusters(context: Context, dataset: Images, number: int) -> Groups:
    counts = dataset.counts().sum(1)  # (C,)
    fewest = int(counts[counts > 0].min())
    if number > fewest:
        where = dataset.class_names[int((counts == fewest).nonzero()[0])]
        raise UsageError(
            f"{number} groups are more than the {plural(fewest, 'image')} of class {where!r}",
            hint=f"--groups kmeans:{fewest} or fewer",
        )
    found = kept_groups(context, dataset, Kind(number, "class", FEATURES, smallest_group))
    assert found.classes is not None, "groups within classes know their classes"
    notes = _shortfalls(dataset, number, torch.bincount(found.classes, minlength=len(counts)), counts)
    names, features = _within(dataset, found.classes), describe(dataset, FEATURES)
    return _groups(dataset, found.assignments, names, within_class=True, notes=notes, features=features)


def _shortfalls(dataset: Images, number: int, formed: Tensor, counts: Tensor) -> list[str]:
    """Which classes have fewer groups than the number asked for, and why; formed and counts int64 (C,)."""
    tiny: list[str] = []
    merged: list[str] = []
    for name, have, count in zip(dataset.class_names, formed.tolist(), counts.tolist(), strict=True):
        if not 0 < have < number:
            continue
        if count < 2 * smallest_group(count):
            tiny.append(f"{name} ({plural(count, 'image')})")
        else:
            merged.append(f"{name} ({plural(have, 'group')})")
    notes = []
    if tiny:
        said = plural(len(tiny), "class has", "classes have")
        notes.append(f"{said} too few images for two groups of at least 25, one group is left: {_few(tiny)}")
    if merged:
        said = plural(len(merged), "class has", "classes have")
        why = "those below 25 images or 0.5 % of the class were merged into the nearest"
        notes.append(f"{said} fewer than {number} groups, because {why}: {_few(merged)}")
    return notes


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
