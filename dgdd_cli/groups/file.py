"""The groups file: which subpopulation every image of a dataset belongs to; the schema `dgdd.groups/1`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from dgdd_cli.bundle.manifest import Block, Count, Identifier, Name, Seed, Sha256, Size, Text, identify, parse
from dgdd_cli.bundle.read import check_hashes, check_range
from dgdd_cli.data.images import Images
from dgdd_cli.errors import DataError
from dgdd_cli.storage.container import invalid, read_container, tensor_sha256, write_container
from dgdd_cli.storage.layout import check_layout
from dgdd_cli.text import plural

SCHEMA = "dgdd.groups/1"

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class GroupsFacts(Block):
    """Everything the one who clusters knows; purity = share of images in their group's commonest class or domain."""

    dataset: Name
    fingerprint: Sha256
    domain_fingerprints: dict[Name, Sha256]
    image_size: Size
    classes: tuple[Name, ...] = Field(min_length=1)
    domains: tuple[Name, ...] = Field(min_length=1)
    per: Literal["all", "class"]
    features: Text
    seed: Seed
    silhouette: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | None
    purity_class: Share
    purity_domain: Share
    software: dict[Name, Text]

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        for what, names in (("classes", self.classes), ("domains", self.domains)):
            if len(set(names)) < len(names):
                raise ValueError(f"a name occurs twice in {what}")
        if not set(self.domain_fingerprints) <= set(self.domains):
            raise ValueError("domain_fingerprints names a domain that is not in domains")
        return self


class GroupsManifest(GroupsFacts):
    """The whole manifest; `sizes` holds the images in each of `groups` groups."""

    schema_name: Literal["dgdd.groups/1"] = Field(alias="schema")
    id: Identifier
    groups: Size
    sizes: tuple[Count, ...]
    hashes: dict[Name, Sha256]


@dataclass(frozen=True, slots=True, eq=False)
class GroupsFile:
    """A groups file that passed every check; N images in G groups over F features."""

    path: Path
    groups: Tensor  # (N,) int64 in [0, G), in the dataset's order
    centroids: Tensor  # (G, F) float32
    group_classes: Tensor | None  # (G,) int64: the class that each group was found in, when per class
    manifest: GroupsManifest

    def __len__(self) -> int:
        return self.groups.shape[0]


def write_groups(
    path: Path,
    groups: Tensor,
    centroids: Tensor,
    facts: GroupsFacts,
    *,
    group_classes: Tensor | None = None,
    overwrite: bool = False,
) -> GroupsManifest:
    """Write a groups file and return its manifest; equal arguments give equal bytes.

    groups int64 (N) in [0, G), centroids float32 (G, F), group_classes int64 (G). Raises DataError for tensors that
    do not fit together, UsageError when `path` exists and `overwrite` is false, DgddError when the disk fails.
    """
    tensors = {"groups": groups, "centroids": centroids}
    if group_classes is not None:
        tensors["group_classes"] = group_classes
    try:
        check_layout(tensors, "groups")
        check_range("groups", groups, 0, centroids.shape[0])
        document = facts.document() | {
            "schema": SCHEMA,
            "groups": centroids.shape[0],
            "sizes": _sizes(groups, centroids.shape[0]),
            "hashes": {name: tensor_sha256(tensor) for name, tensor in tensors.items()},
        }
        manifest = parse(GroupsManifest, document | {"id": identify(document)})
        _check_tensors(tensors, manifest)
    except ValueError as error:
        raise DataError(f"cannot write {path}: {error}") from error
    write_container(Path(path), tensors, manifest.document(), overwrite=overwrite)
    return manifest


def read_groups(path: str | Path) -> GroupsFile:
    """The groups file at `path`, its schema, shapes, ranges and hashes verified; raises DataError."""
    path = Path(path)
    tensors, document = read_container(path, kind="groups")
    try:
        manifest = parse(GroupsManifest, document)
        if manifest.id != identify(document):
            raise ValueError(f"its manifest was changed: the id should be {identify(document)}, not {manifest.id}")
        _check_tensors(tensors, manifest)
        check_hashes(tensors, manifest.hashes)
    except ValueError as error:
        raise invalid(path, "groups", error) from error
    return GroupsFile(path, tensors["groups"], tensors["centroids"], tensors.get("group_classes"), manifest)


def passed_checks(file: GroupsFile) -> list[str]:
    """What reading this groups file has checked, one line each."""
    return [
        f"schema: {file.manifest.schema_name}, no unknown or duplicate field",
        f"tensors: exactly {', '.join(sorted(file.manifest.hashes))}, dtypes and shapes as stated",
        f"counts: {plural(len(file), 'image')} in {plural(file.manifest.groups, 'group')}, sizes recounted",
        f"hashes: sha256 of {plural(len(file.manifest.hashes), 'tensor')}",
        f"id: {file.manifest.id}, recomputed from the manifest",
    ]


def check_groups_match(file: GroupsFile, dataset: Images) -> None:
    """Raise DataError unless the groups were made for exactly this dataset, its domains and its image size.

    Groups within classes must hold images of their own class alone.
    """
    manifest = file.manifest
    names = ",".join(dataset.domain_names)
    count = manifest.groups if file.group_classes is None else int(torch.bincount(file.group_classes).max())
    hint = (
        f"make groups for it: dgdd cluster {shlex.quote(dataset.name)} --groups {count} --per {manifest.per} "
        f"--image-size {dataset.image_size} --domains {shlex.quote(names)}"
    )
    same_order = manifest.domains == dataset.domain_names  # the fingerprint does not know it, the rows follow it
    if same_order and len(file) == len(dataset) and manifest.fingerprint == dataset.fingerprint():
        if file.group_classes is None or torch.equal(file.group_classes[file.groups], dataset.labels):
            return
        raise DataError(f"{file.path}: a group holds images of another class than its own", hint=hint)
    if manifest.dataset == dataset.name and manifest.image_size != dataset.image_size:
        why = f"made at {manifest.image_size} px, and the images are read at {dataset.image_size}"
    elif manifest.dataset == dataset.name and manifest.domains != dataset.domain_names:
        why = f"made for the domains {', '.join(manifest.domains)}, not {', '.join(dataset.domain_names)}"
    else:
        other = f"{manifest.dataset}, {plural(len(file), 'image')}"
        why = f"made for another dataset ({other}), not {dataset.name} ({len(dataset)})"
    raise DataError(f"{file.path}: these groups were {why}", hint=hint)


def _check_tensors(tensors: Mapping[str, Tensor], manifest: GroupsManifest) -> None:
    groups, centroids = tensors["groups"], tensors["centroids"]
    if centroids.shape[0] != manifest.groups or centroids.shape[1] == 0:
        raise ValueError(
            f"the tensor 'centroids' has shape {tuple(centroids.shape)} for {plural(manifest.groups, 'group')}"
        )
    check_range("groups", groups, 0, manifest.groups)
    if tuple(_sizes(groups, manifest.groups)) != manifest.sizes:
        raise ValueError("the sizes in its manifest are not those of its groups")
    if not bool(torch.isfinite(centroids).all()):
        raise ValueError("the tensor 'centroids' holds NaN or infinite values")
    if "group_classes" in tensors:
        if tuple(tensors["group_classes"].shape) != (manifest.groups,):
            raise ValueError("the tensor 'group_classes' does not have one entry for each group")
        check_range("group_classes", tensors["group_classes"], 0, len(manifest.classes))


def _sizes(groups: Tensor, count: int) -> list[int]:
    sizes: list[int] = torch.bincount(groups, minlength=count).tolist()
    return sizes
