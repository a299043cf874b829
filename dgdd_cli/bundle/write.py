"""Write a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dgdd_cli.bundle.decoding import decoded
from dgdd_cli.bundle.manifest import SCHEMA, BundleFacts, Manifest, identify, parse
from dgdd_cli.bundle.read import check_tensors
from dgdd_cli.errors import DataError
from dgdd_cli.storage.container import tensor_sha256, write_container
from dgdd_cli.synthesis.labels import is_probability
from dgdd_cli.text import canonical_json

# One ranged request for the first 100 kB of a remote file then shows the whole manifest.
HEADER_GOAL_BYTES = 64_000


def write_bundle(
    path: Path,
    tensors: Mapping[str, Tensor],
    facts: BundleFacts,
    *,
    image_size: int | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a bundle of the schema `dgdd/1` and return its manifest; equal arguments give equal bytes.

    tensors: `images` uint8 (N, 3, H, W), or what the parameterisation in `facts` stores; `labels` int64 (N), `domains`
    int64 (N, -1 = mixed), optionally `tile_domains` int64 (N, f²), `soft_labels` float32 (M, C) of the M training
    images and `groups` int64 (N, -1 = none); N = IPC x classes. `image_size` is the side of training images, where no
    `images` show it. What is written is held to the same rules as what is read. Where the counts per cell would lift
    the header over 64 kB, they are left out. Raises DataError for tensors that break the rules, UsageError when `path`
    exists and `overwrite` is false, DgddError when the disk does not take the file.
    """
    try:
        manifest = complete_manifest(tensors, facts, image_size)
    except ValueError as error:
        raise DataError(f"cannot write {path}: {error}") from error
    write_container(Path(path), tensors, manifest.document(), overwrite=overwrite)
    return manifest


def complete_manifest(tensors: Mapping[str, Tensor], facts: BundleFacts, image_size: int | None = None) -> Manifest:
    """`facts` with what the tensors add: layout, hashes and id. Raises ValueError when they do not fit together."""
    if image_size is not None:
        count, height, width = len(tensors.get("labels", ())), image_size, image_size
    elif "images" in tensors and tensors["images"].ndim == 4:
        count, _, height, width = tensors["images"].shape
    else:
        raise ValueError("images must be (N, 3, H, W)")
    soft = tensors.get("soft_labels")
    if facts.label_kind is None and soft is not None and soft.ndim == 2 and is_probability(soft):
        facts = facts.model_copy(update={"label_kind": "probability"})
    document = facts.document() | {
        "schema": SCHEMA,
        "images": {
            "count": count,
            "ipc": count // len(facts.classes),
            "height": height,
            "width": width,
            "layout": "NCHW",
            "space": "pixels-u8",
        },
        "hashes": {name: tensor_sha256(tensor) for name, tensor in tensors.items()},
    }
    if _escaped_bytes(document) > HEADER_GOAL_BYTES:
        document["source"] |= {"counts": {}}
    manifest = parse(Manifest, document | {"id": identify(document)})
    check_tensors(tensors, manifest)
    decoded(tensors, manifest)
    return manifest


def _escaped_bytes(document: Mapping[str, object]) -> int:
    # The manifest is a JSON text inside a JSON header, so its quotes and backslashes count twice.
    return len(canonical_json(canonical_json(document)).encode()) + 1000
