"""One content-addressed cache: what was computed once is found again under everything it depends on.

`<folder>/<kind>/<choices>-<facts>.safetensors` or `.json`: sha256 of what was asked for, and of what the answer further
depends on (images, software). Files appear whole and may be deleted at any time, by another process too: whoever reads
one holds it open. All kinds share one bound; the least recently used entries go first (LRU by modification time).
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dgdd_cli.errors import DataError, DgddError, UnknownName
from dgdd_cli.text import canonical_json

KINDS = ("decoded", "banks", "groups", "scores")
LIMIT = 4 * 2**30  # bytes
SHARE = 0.1  # of the file system, where that is more
ABANDONED = 24 * 3600  # seconds after which an unfinished file has no writer any more

log = logging.getLogger("dgdd")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Key:
    """What an entry is: `choices` of the user, and `facts` that the answer depends on beside them; `title` for logs."""

    kind: str
    title: str
    choices: Mapping[str, Any]
    facts: Mapping[str, Any]
    suffix: str = ".safetensors"

    @property
    def name(self) -> str:
        return f"{digest(self.choices)}-{digest(self.facts)}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Entries of one kind and the bytes of all their files."""

    kind: str
    entries: int
    bytes: int


def digest(document: Mapping[str, Any]) -> str:
    """sha256 of canonical JSON, its first 32 hex digits."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache in `folder`, bounded by `limit` bytes (4 GiB, or a tenth of its file system where that is more)."""

    folder: Path
    limit: int | None = None

    def path(self, key: Key) -> Path:
        """Where the entry of `key` lies, whether it is there or not."""
        return self.folder / key.kind / key.name

    def get(self, key: Key, read: Callable[[Path], T]) -> T | None:
        """What `read` makes of the entry, or None for a cache miss.

        `read` verifies: a DataError or ValueError from it drops the entry and says so. An entry of the same choices
        with other facts is a miss that is said.
        """
        path = self.path(key)
        try:
            value = read(path)
        except (FileNotFoundError, NotADirectoryError):
            if any(path.parent.glob(f"{digest(key.choices)}-*{key.suffix}")):
                log.info("%s: what is kept is of other images, groups or software; rebuilt", key.title)
            return None
        except OSError as error:
            log.warning("%s: %s cannot be read (%s); rebuilt", key.title, path, error.strerror or error)
            return None
        except (DataError, ValueError, RecursionError) as error:
            log.warning("%s: the kept file cannot be used (%s); rebuilt", key.title, error)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):  # a cache that cannot be written to is no less readable
            os.utime(path)
        return value

    def put(self, key: Key, write: Callable[[Path], object]) -> Path | None:
        """Keep what `write` puts at the path it is given; None, and why, where the disk does not take it."""
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
        except (OSError, DgddError) as error:
            log.warning("%s cannot be kept: %s", key.title, getattr(error, "message", None) or error)
            return None
        self.trim(spare=path)
        return path

    def trim(self, spare: Path | None = None) -> None:
        """Delete the least recently used entries beyond the bound, and unfinished files a day old; never `spare`."""
        entries = sorted(self._files(), key=lambda entry: entry[1].st_mtime)
        total = sum(stat.st_size for _, stat in entries)
        bound, now = self._bound(), time.time()
        for path, stat in entries:
            unfinished = path.name.startswith(".")
            if path == spare or (unfinished and stat.st_mtime > now - ABANDONED):
                continue
            if total <= bound and not unfinished:
                continue
            with suppress(OSError):  # another process was faster, or may and we may not
                path.unlink()
                total -= stat.st_size

    def usage(self) -> list[Usage]:
        """Entries and bytes of every kind."""
        found = {kind: [0, 0] for kind in KINDS}
        for path, stat in self._files():
            found[path.parent.name][0] += not path.name.startswith(".")
            found[path.parent.name][1] += stat.st_size
        return [Usage(kind, entries, size) for kind, (entries, size) in found.items()]

    def clear(self, kind: str) -> Usage:
        """Delete every entry of a kind; what was deleted. Raises UnknownName."""
        if kind not in KINDS:
            raise UnknownName("kind of cache entry", kind, KINDS)
        entries = size = 0
        for path, stat in self._files((kind,)):
            try:
                path.unlink()
            except OSError:
                continue
            entries += not path.name.startswith(".")
            size += stat.st_size
        return Usage(kind, entries, size)

    def _bound(self) -> int:
        if self.limit is not None:
            return self.limit
        try:
            return max(LIMIT, int(SHARE * shutil.disk_usage(self.folder).total))
        except OSError:
            return LIMIT

    def _files(self, kinds: tuple[str, ...] = KINDS) -> Iterator[tuple[Path, os.stat_result]]:
        for kind in kinds:
            try:
                with os.scandir(self.folder / kind) as listed:
                    entries = list(listed)
            except OSError:
                continue
            for entry in entries:
                with suppress(OSError):
                    if entry.is_file(follow_symlinks=False):
                        yield Path(entry.path), entry.stat(follow_symlinks=False)
