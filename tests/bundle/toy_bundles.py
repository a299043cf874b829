"""A small valid bundle and groups file, and the raw parts to build broken ones by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dgdd_cli.bundle.manifest import BundleFacts, identify
from dgdd_cli.groups.file import GroupsFacts
from dgdd_cli.text import canonical_json

SHA = "0123456789abcdef" * 4


def facts_with(**changes: Any) -> BundleFacts:
    fields: dict[str, Any] = {
        "normalise": {"mean": [0.5, 0.25, 0.125], "std": [0.5, 0.5, 0.5], "origin": "sources"},
        "classes": ["cat", "dog"],
        "domains": ["photo", "sketch"],
        "target": "cartoon",
        "method": {"name": "dm", "settings": {"lr": 1.5, "matching": {"name": "dm"}, "note": None}},
        "seed": 7,
        "steps": 3,
        "software": {"dgdd": "0.1.0", "torch": "2.15.0"},
        "device": {"type": "cpu", "name": "any"},
        "source": {
            "dataset": "toy",
            "fingerprint": SHA,
            "domain_fingerprints": {"photo": SHA, "sketch": SHA},
            "licence": "CC0",
            "citation": "nobody, 2026",
            "counts": {"photo": {"cat": 4, "dog": 3}, "sketch": {"cat": 2, "dog": 5}},
        },
    }
    return BundleFacts.model_validate(fields | changes)


def tensors_with(**changes: Tensor) -> dict[str, Tensor]:
    images = (torch.arange(4 * 3 * 8 * 8) * 37 % 256).to(torch.uint8).reshape(4, 3, 8, 8)
    return {
        "images": images,
        "labels": torch.tensor([0, 0, 1, 1]),
        "domains": torch.tensor([0, 1, 0, -1]),
        **changes,
    }


def groups_facts_with(**changes: Any) -> GroupsFacts:
    fields: dict[str, Any] = {
        "dataset": "toy",
        "fingerprint": SHA,
        "domain_fingerprints": {"photo": SHA},
        "image_size": 8,
        "classes": ["cat", "dog"],
        "domains": ["photo"],
        "per": "all",
        "features": "pixels",
        "seed": 0,
        "silhouette": 0.25,
        "purity_class": 0.75,
        "purity_domain": 1.0,
        "software": {"dgdd": "0.1.0"},
    }
    return GroupsFacts.model_validate(fields | changes)


def pack(header: bytes, buffer: bytes = b"") -> bytes:
    """A safetensors file from a literal header and buffer."""
    return struct.pack("<Q", len(header)) + header + buffer


def unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def edited(data: bytes, edit: Callable[[dict[str, Any]], object], *, resign: bool = True) -> bytes:
    """The file with its manifest changed by `edit`, and the id recomputed so that only the edit is wrong."""
    header, buffer = unpack(data)
    document = json.loads(header["__metadata__"]["dgdd"])
    edit(document)
    if resign:
        document["id"] = identify(document)
    header["__metadata__"]["dgdd"] = canonical_json(document)
    return pack(json.dumps(header).encode(), buffer)
