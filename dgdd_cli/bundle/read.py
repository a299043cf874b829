"""Read a bundle, trusting nothing in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dgdd_cli.bundle.manifest import Manifest, identify, parse
from dgdd_cli.errors import DataError
from dgdd_cli.storage.container import invalid, read_container, tensor_sha256
from dgdd_cli.storage.layout import check_layout
from dgdd_cli.text import plural


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A distilled set that passed every check; N = IPC x classes images of C classes from D source domains."""

    path: Path
    images: Tensor  # (N, 3, H, W) uint8
    labels: Tensor  # (N,) int64 in [0, C)
    domains: Tensor  # (N,) int64 in [-1, D); -1 = mixed
    soft_labels: Tensor | None  # (N, C) float32
    groups: Tensor | None  # (N,) int64 >= -1
    manifest: Manifest

    def __len__(self) -> int:
        return self.images.shape[0]


def load_bundle(path: str | Path) -> Bundle:
    """The bundle at `path`, its schema, shapes, ranges and hashes verified; raises DataError."""
    path = Path(path)
    tensors, document = read_container(path, kind="bundle")
    try:
        manifest = parse(Manifest, document)
        if manifest.id != identify(document):
            raise ValueError(f"its manifest was changed: the id should be {identify(document)}, not {manifest.id}")
        check_tensors(tensors, manifest)
        check_hashes(tensors, manifest.hashes)
    except ValueError as error:
        raise invalid(path, "bundle", error) from error
    return Bundle(
        path=path,
        images=tensors["images"],
        labels=tensors["labels"],
        domains=tensors["domains"],
        soft_labels=tensors.get("soft_labels"),
        groups=tensors.get("groups"),
        manifest=manifest,
    )


def check_hard_labels(bundle: Bundle, reader: str) -> None:
    """Raise DataError for a bundle with soft labels, where `reader` (in words) knows class indices only."""
    if bundle.soft_labels is not None:
        raise DataError(
            f"{bundle.path} has soft labels, which {reader} would ignore: it knows one class for each image",
            hint=f"in Python, dgdd_cli.load_bundle({str(bundle.path)!r}).soft_labels gives them",
        )


def verify_bundle(path: str | Path) -> list[str]:
    """Load the bundle at `path` and say what was checked, one line each; raises DataError."""
    return passed_checks(load_bundle(path))


def passed_checks(bundle: Bundle) -> list[str]:
    """What loading this bundle has checked, one line each."""
    manifest = bundle.manifest
    classes = plural(len(manifest.classes), "class", "classes")
    optional = [name for name in ("soft_labels", "groups") if name in manifest.hashes]
    return [
        f"schema: {manifest.schema_name}, no unknown or duplicate field",
        f"tensors: exactly {', '.join(['images', 'labels', 'domains', *optional])}, dtypes and shapes as stated",
        f"counts: {plural(len(bundle), 'image')} = {manifest.images.ipc} per class x {classes}",
        f"ranges: labels within {classes}, domains within {plural(len(manifest.domains), 'source')}",
        f"hashes: sha256 of {plural(len(manifest.hashes), 'tensor')}",
        f"id: {manifest.id}, recomputed from the manifest",
    ]


def check_tensors(tensors: Mapping[str, Tensor], manifest: Manifest) -> None:
    """Raise ValueError unless dtypes, shapes, counts and ranges are what a bundle and its manifest say."""
    check_layout(tensors, "bundle")
    stated, classes = manifest.images, len(manifest.classes)
    n = stated.count
    shapes: dict[str, tuple[int, ...]] = {
        "images": (n, 3, stated.height, stated.width),
        "labels": (n,),
        "domains": (n,),
        "soft_labels": (n, classes),
        "groups": (n,),
    }
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[name]:
            raise ValueError(f"the tensor {name!r} has shape {tuple(tensor.shape)}, its manifest asks {shapes[name]}")
    check_range("labels", tensors["labels"], 0, classes)
    check_range("domains", tensors["domains"], -1, len(manifest.domains))
    if "groups" in tensors:
        check_range("groups", tensors["groups"], -1, 2**31)
    if "soft_labels" in tensors and not bool(torch.isfinite(tensors["soft_labels"]).all()):
        raise ValueError("the tensor 'soft_labels' holds NaN or infinite values")
    if not bool((torch.bincount(tensors["labels"], minlength=classes) == stated.ipc).all()):
        raise ValueError(f"not every class has {plural(stated.ipc, 'image')}")


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
