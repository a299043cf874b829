"""Decoded domains in the cache, so that a second run reads one file instead of thousands of images.

An entry is named by what it was made from: sha256 over the (relative path, sha256 of the bytes) of its files in order,
the image size and the version of the reader. A changed, added or removed file is thus another entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dgdd_cli.data.decode import BROKEN, Failure, Sample, in_parallel
from dgdd_cli.data.known_hashes import (
    Stamp,
    at_rest,
    file_system_time,
    load_records,
    records_key,
    stamp_of,
    store_records,
)
from dgdd_cli.progress import Progress
from dgdd_cli.storage.cache import Cache, Key
from dgdd_cli.storage.kept_tensors import read_tensors, write_tensors

READER = 2  # to be raised whenever the same bytes decode to other pixels


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept beside the images: `rows` int64 (n,), the samples that they are; which failed; what was noted."""

    rows: Tensor
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()


def domain_key(domain: str, samples: Sequence[Sample], image_size: int, cache: Cache, progress: Progress) -> Key:
    """The key over the samples' names and bytes in order, the image size and the reader's version.

    Only files that are not known, or not as they were, are read.
    """
    records = records_key(domain, [sample.path for sample in samples])
    now, known = file_system_time(cache.path(records).parent), load_records(cache, records)
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

    files = list(in_parallel(one, len(samples), f"checking {domain}", progress))
    if settled != known:
        store_records(cache, records, settled)
    made_from = hashlib.sha256(json.dumps([READER, image_size, files], separators=(",", ":")).encode()).hexdigest()
    return Key("decoded", f"the decoded images of {domain}", {"made_from": made_from}, {})


def read_domain_file(path: Path, count: int, out: Tensor) -> Kept:
    """Copy a kept domain into the first rows of `out` uint8 (count, 3, H, W).

    Returns what was kept with the images, rows ascending. Raises OSError where there is no file, ValueError for one
    that is damaged or of something else.
    """
    tensors, about = read_tensors(path)
    if sorted(tensors) != ["images", "kept"] or not isinstance(about, dict):
        raise ValueError("it holds no decoded domain")
    images, rows = tensors["images"], tensors["kept"]
    if rows.dtype != torch.int64 or rows.ndim != 1 or images.dtype != torch.uint8:
        raise ValueError("its tensors are of another type")
    try:
        failures, notes = tuple(Failure(*failure) for failure in about["failures"]), tuple(about["notes"])
    except (KeyError, TypeError) as error:
        raise ValueError("it says something else than what failed and was noted") from error
    ascending = not len(rows) or (int(rows[0]) >= 0 and int(rows[-1]) < count and bool((rows.diff() > 0).all()))
    if images.shape != (len(rows), *out.shape[1:]) or len(failures) + len(rows) != count or not ascending:
        raise ValueError("it holds other images")
    out[: len(rows)] = images
    return Kept(rows.clone(), failures, notes)


def write_domain_file(path: Path, images: Tensor, kept: Kept) -> None:
    """Write a decoded domain; raises OSError."""
    failures = [[failure.index, failure.reason, failure.cure] for failure in kept.failures]
    write_tensors(path, {"images": images, "kept": kept.rows}, {"failures": failures, "notes": list(kept.notes)})
