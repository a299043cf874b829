"""Decoded domains kept on disk, so that a second run reads one file instead of thousands of images.

One safetensors file a domain, named by what it was made from: sha256 over the (relative path, sha256 of the bytes) of
its files in order, the image size and the version of the reader. A changed, added or removed file is thus another name.
Files appear whole (written beside, then renamed), so processes may race; one that does not verify is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dgdd_cli.data.decode import BROKEN, Failure, Sample, in_parallel
from dgdd_cli.data.known_hashes import (
    Stamp,
    at_rest,
    file_system_time,
    load_records,
    records_file,
    stamp_of,
    store_records,
)
from dgdd_cli.progress import Progress
from dgdd_cli.storage.temporary import open_new

READER = 2  # to be raised whenever the same bytes decode to other pixels


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept beside the images: `rows` int64 (n,), the samples that they are; which failed; what was noted."""

    rows: Tensor
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()


def content_key(
    domain: str, samples: Sequence[Sample], image_size: int, cache_dir: Path, stage: str, progress: Progress
) -> str:
    """sha256 (hex) over the samples' names and bytes in order, the image size and the reader's version.

    Only files that are not known, or not as they were, are read.
    """
    records = records_file(cache_dir, domain, [sample.path for sample in samples])
    now, known = file_system_time(records.parent), load_records(records)
    settled: dict[str, tuple[Stamp, str]] = {}

    def one(index: int) -> tuple[str, str]:
        sample = samples[index]
        stamp = stamp_of(sample.path)  # before reading: what changes meanwhile has another one
        before, sha = known.get(sample.name, (None, ""))
        if stamp is None or stamp != before:
            try:
                sha = hashlib.sha256(sample.content()).hexdigest()
            except BROKEN as error:  # decoding will name it; once it can be read the key is another one
                return sample.name, type(error).__name__
        if stamp is not None and (stamp == before or (now is not None and at_rest(stamp, now))):
            settled[sample.name] = stamp, sha
        return sample.name, sha

    files = list(in_parallel(one, len(samples), stage, progress))
    if settled != known:
        store_records(records, settled)
    return hashlib.sha256(json.dumps([READER, image_size, files], separators=(",", ":")).encode()).hexdigest()


def cache_file(cache_dir: Path, key: str) -> Path:
    """Where the domain with this key is kept."""
    return cache_dir / "decoded" / f"{key}.safetensors"


def load_cached(path: Path, count: int, out: Tensor) -> Kept | None:
    """Copy a cached domain into the first rows of `out` uint8 (count, 3, H, W).

    Returns what was kept with the images, rows ascending, or None when there is no valid file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            if sorted(file.keys()) != ["images", "kept"]:
                return None
            images, rows = file.get_tensor("images"), file.get_tensor("kept")
            stated, said = json.loads((file.metadata() or {})["domain"])
    # RuntimeError: it was removed between its header and its tensors
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError, TypeError):
        return None
    if rows.dtype != torch.int64 or rows.ndim != 1 or images.dtype != torch.uint8:
        return None
    if images.shape != (len(rows), *out.shape[1:]) or stated != _checksum(images, rows, said):
        return None
    if len(rows) and (int(rows[0]) < 0 or int(rows[-1]) >= count or bool((rows.diff() <= 0).any())):
        return None
    failures, notes = json.loads(said)
    if len(failures) + len(rows) != count:
        return None
    out[: len(rows)] = images
    return Kept(rows, tuple(Failure(*failure) for failure in failures), tuple(notes))


def store(path: Path, images: Tensor, kept: Kept) -> str | None:
    """Keep a decoded domain; returns why that was not possible, or None. Never raises for the disk's sake."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = open_new(path.parent, ".writing-")
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        failed = [[failure.index, failure.reason, failure.cure] for failure in kept.failures]
        said = json.dumps([failed, kept.notes])
        tensors = {"images": images.contiguous(), "kept": kept.rows.contiguous()}
        save_file(tensors, temporary, metadata={"domain": json.dumps([_checksum(images, kept.rows, said), said])})
        os.chmod(temporary, mode)  # safetensors may have put a file of its own there, for its owner alone
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        return getattr(error, "strerror", None) or str(error)
    return None


def _checksum(images: Tensor, rows: Tensor, said: str) -> str:
    digest = hashlib.sha256(rows.numpy().tobytes() + str(said).encode())
    for chunk in images.split(4096):
        digest.update(chunk.contiguous().numpy().data)
    return digest.hexdigest()
