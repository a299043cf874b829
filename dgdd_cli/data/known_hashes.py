"""Hashes of files by what the file system says of them, so that a file that did not change is not read again.

A record is the file's size, times of modification and of change, and inode beside the sha256 of its content. It is
believed while all four are the same, and made only of a file that had been at rest for a while when it was read: one
written in that very moment may change once more without a trace.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from dgdd_cli.storage.cache import Cache, Key

AT_REST = 2_000_000_000  # ns; the coarsest times that a file system in use keeps

Stamp = tuple[int, int, int, int]


def stamp_of(path: Path | None) -> Stamp | None:
    """Size, mtime and ctime in ns, and inode of the file that a path leads to; None when there is none."""
    if path is None:
        return None
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def at_rest(stamp: Stamp, now: int) -> bool:
    """Whether a file with this stamp was written clearly before `now` (ns)."""
    return max(stamp[1], stamp[2]) + AT_REST < now


def records_key(domain: str, paths: Iterable[Path | None]) -> Key:
    """The key of the records of the files of a domain: by the folder that holds them all."""
    folders = {str(path.parent.absolute()) for path in paths if path is not None}
    place = os.fsencode(os.path.commonpath(folders) if folders else "").hex()
    return Key("decoded", f"the known files of {domain}", {"domain": domain, "folder": place}, {}, ".json")


def file_system_time(folder: Path) -> int | None:
    """The time of a file written now in `folder`, in ns; None when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None


def load_records(cache: Cache, key: Key) -> dict[str, tuple[Stamp, str]]:
    """The records by the samples' names; none where there is no valid file."""
    return cache.get(key, _read) or {}


def store_records(cache: Cache, key: Key, records: Mapping[str, tuple[Stamp, str]]) -> None:
    """Keep the records."""
    text = json.dumps({name: [*stamp, sha] for name, (stamp, sha) in records.items()}, separators=(",", ":"))
    cache.put(key, lambda path: path.write_text(text, encoding="ascii"), trim=False)


def _read(path: Path) -> dict[str, tuple[Stamp, str]]:
    try:
        stated = json.loads(path.read_bytes())
        return {name: ((size, mtime, ctime, inode), sha) for name, (size, mtime, ctime, inode, sha) in stated.items()}
    except (TypeError, AttributeError) as error:
        raise ValueError("it holds no records of files") from error
