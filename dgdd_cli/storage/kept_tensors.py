"""Tensors as an entry of the cache: a safetensors file that says what it is of and vouches for itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dgdd_cli.text import canonical_json, strict_json

_HASHED_AT_ONCE = 2**24  # elements


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Any) -> None:
    """Write tensors and JSON `about` to `path`; raises OSError where the disk does not take them."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    said = canonical_json(about)
    try:
        save_file(whole, path, metadata={"kept": canonical_json([_sha256(whole, said), said])})  # one key: one order
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """What `write_tensors` wrote, the tensors mapped from the file, their hash verified.

    Raises OSError where there is no such file, ValueError for one that is damaged or something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    except RuntimeError as error:  # deleted between its header and its tensors
        raise FileNotFoundError(str(error)) from error
    try:
        stated, said = strict_json(metadata["kept"])
        differs = stated != _sha256(tensors, said)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is no entry of the cache") from error
    if differs:
        raise ValueError("its sha256 differs")
    return tensors, strict_json(said)


def _sha256(tensors: Mapping[str, Tensor], said: str) -> str:
    digest = hashlib.sha256(said.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        for part in tensor.reshape(-1).split(_HASHED_AT_ONCE):
            digest.update(part.view(torch.uint8).numpy().data)
    return digest.hexdigest()
