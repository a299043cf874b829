"""Hashes of files by what the file system says of them, so that a file that did not change is not read again.

A record is the file's size, times of modification and of change, and inode beside the sha256 of its content. It is
believed while all four are the same, and made only of a file that had been at rest for a while when it was read: one
written in that very moment may change once more without a trace.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from dgdd_cli.storage.temporary import open_new

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


def records_file(cache_dir: Path, domain: str, paths: Iterable[Path | None]) -> Path:
    """Where the records of the files of a domain are kept: by the folder that holds them all."""
    folders = {str(path.parent.absolute()) for path in paths if path is not None}
    place = json.dumps([domain, os.path.commonpath(folders) if folders else ""]).encode()
    return cache_dir / "checked" / f"{hashlib.sha256(place).hexdigest()}.json"


def file_system_time(folder: Path) -> int | None:
    """The time of a file written now in `folder`, in ns; None when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None


def load_records(path: Path) -> dict[str, tuple[Stamp, str]]:
    """The records by the samples' names; none where there is no valid file."""
    try:
        stated = json.loads(path.read_bytes())
        return {name: ((size, mtime, ctime, inode), sha) for name, (size, mtime, ctime, inode, sha) in stated.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def store_records(path: Path, records: Mapping[str, tuple[Stamp, str]]) -> None:
    """Keep the records; a disk that does not take them is no matter: the files will be read."""
    text = json.dumps({name: [*stamp, sha] for name, (stamp, sha) in records.items()}, separators=(",", ":"))
    temporary: Path | None = None
    try:
        handle, temporary = open_new(path.parent, ".writing-")
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
