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
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dgdd_cli.errors import DataError, DgddError, UnknownName
from dgdd_cli.storage.temporary import open_new
from dgdd_cli.text import canonical_json

KINDS = ("decoded", "banks", "groups", "scores")
LIMIT = 4 * 2**30  # bytes
SHARE = 0.1  # of the file system, where that is more
USABLE = 0.9  # of what is free on the disk: the rest is left to others
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

    def document(self) -> dict[str, Any]:
        """What an entry says it is of, so that one in the place of another is not believed."""
        return {"choices": dict(self.choices), "facts": dict(self.facts)}


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
    _said: set[str] = field(default_factory=set, init=False, repr=False, compare=False)  # each thing once

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
        except (OSError, DataError, ValueError, RecursionError) as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError) or not os.path.lexists(path):
                if set(path.parent.glob(f"{digest(key.choices)}-*{key.suffix}")) - {path}:
                    self._say(
                        logging.INFO, f"{key.title}: what is kept is of other images, groups or software; rebuilt"
                    )
            elif isinstance(error, OSError):
                self._say(logging.WARNING, f"{key.title}: {path} cannot be read ({_why(error)}); rebuilt")
            else:
                self._say(logging.WARNING, f"{key.title}: the kept file cannot be used ({_why(error)}); rebuilt")
                with suppress(OSError):
                    path.unlink()
            return None
        with suppress(OSError):  # a cache that cannot be written to is no less readable
            os.utime(path)
        return value

    def put(self, key: Key, write: Callable[[Path], object], *, trim: bool = True) -> Path | None:
        """Keep what `write` puts at the temporary path it is given; None, and why, where the disk does not take it.

        Who puts many entries trims once, after the last.
        """
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = open_new(path.parent, ".dgdd-")
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            os.close(handle)
            try:
                write(temporary)
                os.chmod(temporary, mode)  # a writer may have put a file of its own there, for its owner alone
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        except (OSError, DgddError) as error:
            self._say(logging.WARNING, f"{key.title} cannot be kept: {_why(error)}")
            return None
        if trim:
            self.trim(spare=path)
        return path

    def trim(self, spare: Path | None = None) -> None:
        """Delete the least recently used entries that have no room, and unfinished files a day old; never `spare`."""
        entries = sorted(self._files(), key=lambda entry: entry[1].st_mtime)
        total = sum(found.st_size for _, found in entries)
        room, now = self._room(total), time.time()
        for path, found in entries:
            unfinished = path.name.startswith(".")
            if path == spare or (unfinished and found.st_mtime > now - ABANDONED):
                continue
            if total <= room and not unfinished:
                continue
            with suppress(OSError):  # another process was faster, or may and we may not
                path.unlink()
                total -= found.st_size

    def room(self) -> int:
        """How many bytes all entries together may take: the bound, or, where the disk is too full for it, nine tenths
        of what they take and is free."""
        return self._room(sum(found.st_size for _, found in self._files()))

    def usage(self) -> list[Usage]:
        """Entries and bytes of every kind."""
        sizes = {kind: [0, 0] for kind in KINDS}
        for path, found in self._files():
            sizes[path.parent.name][0] += not path.name.startswith(".")
            sizes[path.parent.name][1] += found.st_size
        return [Usage(kind, entries, size) for kind, (entries, size) in sizes.items()]

    def clear(self, kind: str) -> Usage:
        """Delete every entry of a kind; what was deleted. Raises UnknownName."""
        if kind not in KINDS:
            raise UnknownName("kind of cache entry", kind, KINDS)
        entries = size = 0
        for path, found in self._files((kind,)):
            try:
                path.unlink()
            except OSError:
                continue
            entries += not path.name.startswith(".")
            size += found.st_size
        return Usage(kind, entries, size)

    def _room(self, taken: int) -> int:
        place = next((place for place in (self.folder, *self.folder.parents) if place.exists()), self.folder)
        try:
            disk = shutil.disk_usage(place)
        except OSError:
            return LIMIT if self.limit is None else self.limit
        limit = max(LIMIT, int(SHARE * disk.total)) if self.limit is None else self.limit
        return min(limit, int(USABLE * (taken + disk.free)))

    def _say(self, level: int, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            log.log(level, "%s", line)

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


def _why(error: Exception) -> str:
    return getattr(error, "message", None) or getattr(error, "strerror", None) or str(error)
