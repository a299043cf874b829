"""Read a bundle, trusting nothing in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from dgdd_cli.bundle.decoding import codec_of, decoded, layout_of, parameterisation_of, stored_layout
from dgdd_cli.bundle.manifest import Manifest, identify, parse
from dgdd_cli.storage.container import invalid, read_container, tensor_sha256, write_container
from dgdd_cli.storage.layout import check_layout
from dgdd_cli.synthesis.codec import decode
from dgdd_cli.synthesis.labels import Labels, label_kind
from dgdd_cli.synthesis.parameterisation import Parameterisation, owners_of, stored_bytes
from dgdd_cli.text import plural


class Labelled(NamedTuple):
    """Training images with what each is taught and the domain it comes from, owner by owner, tile by tile."""

    images: Tensor  # (M, 3, H, W) uint8
    labels: Labels  # of M images
    domains: Tensor  # (M,) int64 in [-1, D); -1 = mixed


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A distilled set that passed every check: N = IPC x classes stored images of C classes from D source domains.

    They decode to M = N · factor² training images, `images`: those that the first stored image owns, tile by tile, then
    those of the second. Of pixels, M = N.
    """

    path: Path
    tensors: Mapping[str, Tensor]  # as stored
    images: Tensor  # (M, 3, H, W) uint8
    labels: Tensor  # (N,) int64 in [0, C)
    domains: Tensor  # (N,) int64 in [-1, D); -1 = mixed
    tile_domains: Tensor | None  # (N, factor²) int64 in [-1, D)
    soft_labels: Tensor | None  # (M, C) float32
    groups: Tensor | None  # (N,) int64 >= -1
    manifest: Manifest

    def __len__(self) -> int:
        return self.labels.shape[0]

    @property
    def parameterisation(self) -> Parameterisation:
        return parameterisation_of(self.manifest)

    @property
    def owners(self) -> Tensor:
        """Which stored image each training image comes from: int64 (M,) in [0, N)."""
        return owners_of(len(self), self.parameterisation.factor)

    def stored_images(self) -> Tensor | None:
        """The images as they are stored, uint8 (N, 3, H, W); None where a parameterisation stores none."""
        size = self.manifest.images
        stored = decode(self.tensors, codec_of(self.manifest), count=size.count, height=size.height, width=size.width)
        return stored.get("images")

    @property
    def training_bytes(self) -> int:
        """Bytes of every tensor that decoding and training need, at their stored types."""
        needed = [*layout_of(self.manifest), "labels", "soft_labels", "weights"]
        return stored_bytes({name: self.tensors[name] for name in needed if name in self.tensors})

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the bundle to `path`, byte for byte as it was read.

        Raises UsageError when `path` exists and `overwrite` is false, DgddError when the disk does not take it.
        """
        write_container(Path(path), self.tensors, self.manifest.document(), overwrite=overwrite)

    def labelled(self) -> Labelled:
        """What a student is trained on."""
        kind = label_kind(self.manifest.label_kind, self.soft_labels)
        owners = self.owners
        domains = self.domains[owners] if self.tile_domains is None else self.tile_domains.flatten()
        return Labelled(self.images, Labels(kind, self.labels[owners], self.soft_labels), domains)


def load_bundle(path: str | Path) -> Bundle:
    """The bundle at `path`, its schema, shapes, ranges and hashes verified; raises DataError."""
    path = Path(path)
    tensors, document = read_container(path, kind="bundle", more=stored_layout)
    try:
        manifest = parse(Manifest, document)
        if manifest.id != identify(document):
            raise ValueError(f"its manifest was changed: the id should be {identify(document)}, not {manifest.id}")
        check_tensors(tensors, manifest)
        check_hashes(tensors, manifest.hashes)
        images = decoded(tensors, manifest)
    except ValueError as error:
        raise invalid(path, "bundle", error) from error
    return Bundle(
        path=path,
        tensors=tensors,
        images=images,
        labels=tensors["labels"],
        domains=tensors["domains"],
        tile_domains=tensors.get("tile_domains"),
        soft_labels=tensors.get("soft_labels"),
        groups=tensors.get("groups"),
        manifest=manifest,
    )


def verify_bundle(path: str | Path) -> list[str]:
    """Load the bundle at `path` and say what was checked, one line each; raises DataError."""
    return passed_checks(load_bundle(path))


def passed_checks(bundle: Bundle) -> list[str]:
    """What loading this bundle has checked, one line each."""
    manifest = bundle.manifest
    classes = plural(len(manifest.classes), "class", "classes")
    optional = [name for name in ("tile_domains", "soft_labels", "groups") if name in manifest.hashes]
    stored = layout_of(manifest)
    return [
        f"schema: {manifest.schema_name}, no unknown or duplicate field",
        f"tensors: exactly {', '.join([*stored, 'labels', 'domains', *optional])}, dtypes and shapes as stated",
        f"counts: {plural(len(bundle), 'image')} = {manifest.images.ipc} per class x {classes}",
        f"ranges: labels within {classes}, domains within {plural(len(manifest.domains), 'source')}",
        f"hashes: sha256 of {plural(len(manifest.hashes), 'tensor')}",
        f"id: {manifest.id}, recomputed from the manifest",
    ]


def check_tensors(tensors: Mapping[str, Tensor], manifest: Manifest) -> None:
    """Raise ValueError unless dtypes, shapes, counts and ranges are what a bundle and its manifest say.

    The shapes of what is stored in the place of images show when it is decoded.
    """
    found = parameterisation_of(manifest)
    check_layout(tensors, "bundle", layout_of(manifest))
    stated, classes = manifest.images, len(manifest.classes)
    n, tiles = stated.count, found.factor**2
    shapes = {
        "labels": (n,),
        "domains": (n,),
        "tile_domains": (n, tiles),
        "soft_labels": (n * tiles, classes),
        "groups": (n,),
    }
    for name, shape in shapes.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            raise ValueError(f"the tensor {name!r} has shape {tuple(tensors[name].shape)}, its manifest asks {shape}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"the tensor {name!r} holds NaN or infinite values")
    check_range("labels", tensors["labels"], 0, classes)
    check_range("domains", tensors["domains"], -1, len(manifest.domains))
    if "tile_domains" in tensors:
        check_range("tile_domains", tensors["tile_domains"], -1, len(manifest.domains))
        if not torch.equal(tensors["domains"], domains_of(tensors["tile_domains"])):
            raise ValueError("the tensors 'domains' and 'tile_domains' contradict each other")
    if "groups" in tensors:
        check_range("groups", tensors["groups"], -1, 2**31)
    label_kind(manifest.label_kind, tensors.get("soft_labels"))
    if not bool((torch.bincount(tensors["labels"], minlength=classes) == stated.ipc).all()):
        raise ValueError(f"not every class has {plural(stated.ipc, 'image')}")


def domains_of(tile_domains: Tensor) -> Tensor:
    """The domain of each stored image from those of its tiles (N, f²): int64 (N,), -1 where they differ."""
    return torch.where((tile_domains == tile_domains[:, :1]).all(1), tile_domains[:, 0], -1)


def check_range(name: str, tensor: Tensor, low: int, high: int) -> None:
    """Raise ValueError unless a non-empty integer tensor has all its values in [low, high)."""
    if tensor.numel() == 0:
        raise ValueError(f"the tensor {name!r} is empty")
    least, most = int(tensor.min()), int(tensor.max())
    if least < low or most >= high:
        raise ValueError(f"the tensor {name!r} holds {least if least < low else most}, outside {low} to {high - 1}")


def check_hashes(tensors: Mapping[str, Tensor], hashes: Mapping[str, str]) -> None:
    """Raise ValueError unless `hashes` are the sha256 of exactly these tensors."""
    if set(hashes) != set(tensors):
        raise ValueError("its hashes do not name its tensors")
    for name in sorted(tensors):
        if tensor_sha256(tensors[name]) != hashes[name]:
            raise ValueError(f"the tensor {name!r} is not the one that was written (its sha256 differs)")
