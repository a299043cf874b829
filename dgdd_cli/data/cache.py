"""Decoded domains kept on disk, so that a second run reads one file instead of thousands of images.

One safetensors file a domain, named by what it was made from: sha256 over the sorted (relative path, sha256 of the
bytes) of its files, the image size and the version of the reader. A changed, added or removed file is thus another
name. Files appear whole (written beside, then renamed), so processes may race; one that does not verify is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dgdd_cli.data.decode import BROKEN, Sample, in_parallel
from dgdd_cli.data.temporary import open_new
from dgdd_cli.progress import Progress

READER = 1  # to be raised whenever the same bytes decode to other pixels


def content_key(samples: Sequence[Sample], image_size: int, stage: str, progress: Progress) -> str:
    """sha256 (hex) over the samples' names and bytes, the image size and the reader's version."""

    def one(index: int) -> tuple[str, str]:
        sample = samples[index]
        try:
            return sample.name, hashlib.sha256(sample.content()).hexdigest()
        except BROKEN as error:  # decoding will name it; once it can be read the key is another one
            return sample.name, type(error).__name__

    files = sorted(in_parallel(one, len(samples), stage, progress))
    return hashlib.sha256(json.dumps([READER, image_size, files], separators=(",", ":")).encode()).hexdigest()


def cache_file(cache_dir: Path, key: str) -> Path:
    """Where the domain with this key is kept."""
    return cache_dir / "decoded" / f"{key}.safetensors"


def load_cached(path: Path, count: int, out: Tensor) -> Tensor | None:
    """Copy a cached domain into the first rows of `out` uint8 (count, 3, H, W).

    Returns which samples those rows are, int64 (kept,) ascending, or None when there is no valid file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            if sorted(file.keys()) != ["images", "kept"]:
                return None
            images, kept = file.get_tensor("images"), file.get_tensor("kept")
            stated = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError, RuntimeError):  # the last: it was removed between its header and its tensors
        return None
    if kept.dtype != torch.int64 or kept.ndim != 1 or images.dtype != torch.uint8:
        return None
    if images.shape != (len(kept), *out.shape[1:]) or stated != _checksum(images, kept):
        return None
    if len(kept) and (int(kept[0]) < 0 or int(kept[-1]) >= count or bool((kept.diff() <= 0).any())):
        return None
    out[: len(kept)] = images
    return kept


def store(path: Path, images: Tensor, kept: Tensor) -> str | None:
    """Keep a decoded domain; returns why that was not possible, or None. Never raises for the disk's sake."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = open_new(path.parent, ".writing-")
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        tensors = {"images": images.contiguous(), "kept": kept.contiguous()}
        save_file(tensors, temporary, metadata={"sha256": _checksum(images, kept)})
        os.chmod(temporary, mode)  # safetensors may have put a file of its own there, for its owner alone
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        return getattr(error, "strerror", None) or str(error)
    return None


def _checksum(images: Tensor, kept: Tensor) -> str:
    digest = hashlib.sha256(kept.numpy().tobytes())
    for chunk in images.split(4096):
        digest.update(chunk.contiguous().numpy().data)
    return digest.hexdigest()
