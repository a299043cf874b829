"""Groups of test images: domains, cells, clusters, or what a groups file says."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dgdd_cli.data.arranged import joined
from dgdd_cli.data.images import Images
from dgdd_cli.errors import UsageError
from dgdd_cli.groups.find import NAMED, find_groups
from dgdd_cli.groups.kept import Kind, kept_groups
from dgdd_cli.runtime.context import Context
from dgdd_cli.text import plural

CLUSTER_SEED = 0  # the clusters belong to the images, not to a run: --seed does not move them

log = logging.getLogger("dgdd")


@dataclass(frozen=True, slots=True, eq=False)
class TargetGroups:
    """G named groups over the images of all targets; `members[target]` int64 (n,) in [0, G)."""

    spec: str
    names: tuple[str, ...]
    members: Mapping[str, Tensor]
    files: Mapping[str, str]  # where they were read from or kept, by target; "all" for one file of all targets

    @property
    def clustered(self) -> bool:
        return self.spec.startswith("kmeans:")

    def present(self, target: str) -> Tensor:
        """The groups that have images of one target, int64 (P,), by name: the same whatever other targets there are."""
        return torch.tensor(sorted(self.members[target].unique().tolist(), key=self.names.__getitem__)).long()

    def digest(self, target: str) -> str:
        """sha256 of the groups of one target's images, of which `present` says the order."""
        present = self.present(target)
        places = torch.empty(len(self.names), dtype=torch.int64)
        places[present] = torch.arange(len(present))
        names = "\n".join(self.names[g] for g in present.tolist()).encode()
        return hashlib.sha256(names + b"\0" + places[self.members[target]].numpy().tobytes()).hexdigest()


def groups_of(context: Context, spec: str, targets: Mapping[str, Images]) -> TargetGroups:
    """The groups that `spec` names: domain, class-domain, kmeans:K (of each target by itself) or a groups file.

    `targets` are sets of one domain each, by its name. Clusters are made once and kept in the cache: the
    "cluster-min" of arXiv 2402.04676 needs fixed ones. Raises UsageError for a spec that means nothing, DataError for a
    file that is invalid or belongs to other images.
    """
    if spec.partition(":")[0] == "kmeans":
        return _clusters(context, spec, targets)
    found = find_groups(context, joined(targets), spec)  # nothing is drawn
    sizes = [len(dataset) for dataset in targets.values()]
    files = {} if spec in NAMED else {"all": spec}
    return TargetGroups(spec, found.names, dict(zip(targets, found.assignments.split(sizes), strict=True)), files)


def check_spec(spec: str) -> None:
    """Raise UsageError for a spec that is neither a known one nor a file."""
    if spec in NAMED or re.fullmatch(r"kmeans:[1-9][0-9]{0,5}", spec):
        return
    if spec.partition(":")[0] == "kmeans":
        raise UsageError(f"--groups {spec!r} names no number of clusters", hint="--groups kmeans:10")
    if not spec or not Path(spec).expanduser().exists():
        raise UsageError(
            f"--groups {spec!r} is neither domain, class-domain, kmeans:K nor a groups file", hint="--groups kmeans:10"
        )


def _clusters(context: Context, spec: str, targets: Mapping[str, Images]) -> TargetGroups:
    number = int(spec.partition(":")[2])
    smallest = min(targets, key=lambda target: len(targets[target]))
    if number > (fewest := len(targets[smallest])) > 0:
        raise UsageError(
            f"{number} clusters are more than the {plural(fewest, 'image')} of {smallest!r}",
            hint=f"--groups kmeans:{fewest} or fewer",
        )
    names: list[str] = []
    members, files = {}, {}
    for target, dataset in targets.items():
        found = kept_groups(replace(context, seed=CLUSTER_SEED), dataset, Kind(number, "all", "pixels"))
        for line in found.notes:
            log.warning("%s", line)
        members[target] = found.assignments + len(names)
        names += [f"cluster {k} of {target}" for k in range(found.number)]
        if found.path is not None:
            files[target] = str(found.path)
            what = "made, and kept in" if found.made else "those kept in"
            log.info("%s of %s: %s %s", plural(number, "cluster"), target, what, found.path)
    return TargetGroups(spec, tuple(names), members, files)
