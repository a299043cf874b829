"""The name of an output, reserved while a run works on it, so that no two runs write the same file.

The lock lies on a file beside the output and ends with its process, however that ends: a stopped process keeps it, and
nobody has to clean up after a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
import platform
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dgdd_cli.errors import DgddError, NameTaken, UsageError
from dgdd_cli.storage.atomic import destination
from dgdd_cli.text import printable, typeable

log = logging.getLogger("dgdd")

T = TypeVar("T")
Found = tuple[int, ...] | None  # which file lies at a name, and which version of it

_HOLDER = re.compile(r"dgdd run: process (\d{1,10}) on ([^\n]{0,200})\n?")
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Reservation:
    """A name for an output, the file that it led to when the work began, links followed, and what lay there."""

    path: Path
    file: Path
    before: Found

    def write(self, write: Callable[[Path, bool], T], *, overwrite: bool) -> tuple[Path, T]:
        """`write(path, overwrite)` at the reserved file, and where that was in the end.

        A link that was changed meanwhile changes nothing.

        What another program put there meanwhile stays, and the result goes beside it under the next free name. Where
        the place takes no file at all, the result goes to the folder for temporary files, and DgddError says where.
        """
        try:
            try:
                return self.path, write(self.file, overwrite and _found(self.file) == self.before)
            except NameTaken:
                return _beside(self.path, write)
        except DgddError as problem:
            rescued = _rescued(self.path, write)
            if rescued is None:
                raise
            raise DgddError(
                f"{problem.message}; the result lies in {rescued}",
                hint=f"mv {typeable(rescued)} {typeable(self.path)}",
            ) from problem


@contextmanager
def reserved(path: Path) -> Iterator[Reservation]:
    """Hold the name `path`, links followed, until the work is done; nothing is left beside it.

    Raises UsageError while another process holds it. Where the file system has no locks the work goes on without one,
    and the log hears it.
    """
    file = destination(path)
    lock = _lock_file(file)
    try:
        handle = _take(lock, path)
    except OSError as error:
        handle = None
        log.warning(
            "%s cannot be reserved (%s): a second run that writes it would not be noticed",
            path,
            error.strerror or error,
        )
    try:
        yield Reservation(path, file, _found(file))
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                lock.unlink()  # before the lock ends: whoever takes this very file then sees that it is gone
            os.close(handle)


def _take(lock: Path, path: Path) -> int:
    """A handle with the lock on the file at `lock`. Raises UsageError where another process has it, or OSError."""
    while True:
        handle = _open(lock)
        if handle is None:
            continue
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(f"{lock} is no regular file")
            said = os.pread(handle, 300, 0).decode(errors="replace")
            holder = _HOLDER.fullmatch(said)
            if said and not holder:
                raise OSError(f"{lock} is another program's file")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _alive(path, holder) from None
            except OSError:  # no locks here
                lock.unlink(missing_ok=True)
                raise
            if not _still_at(lock, handle):  # its run has ended meanwhile and taken the file along
                os.close(handle)
                continue
            with contextlib.suppress(OSError):  # another user's, or a full disk: the lock holds without a name in it
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"dgdd run: process {os.getpid()} on {platform.node()}\n".encode(), 0)
        except BaseException:
            os.close(handle)
            raise
        return handle


def _open(lock: Path) -> int | None:
    """The lock file, made where there is none; None where it goes away meanwhile."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(FileExistsError):
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
    with contextlib.suppress(FileNotFoundError):
        try:
            return os.open(lock, os.O_RDWR | flags)
        except PermissionError:
            return os.open(lock, os.O_RDONLY | flags)
    return None


def _still_at(lock: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(lock, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _alive(path: Path, holder: re.Match[str] | None) -> UsageError:
    who = f" (process {holder[1]} on {printable(holder[2])})" if holder else ""
    return UsageError(
        f"another run that writes {path} is alive{who}",
        hint=f"wait for it, stop it, or name another file: --out {typeable(_numbered(path, 2))}",
    )


def _lock_file(file: Path) -> Path:
    name = f"{file.name}.running"
    while len(os.fsencode(name)) > _LONGEST_NAME:  # two long names may share a lock, which only makes one wait
        name = name[1:]
    return file.with_name(name)


def _found(path: Path) -> Found:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def _beside(path: Path, write: Callable[[Path, bool], T]) -> tuple[Path, T]:
    for number in itertools.count(2):
        with contextlib.suppress(NameTaken):
            beside = _numbered(path, number)
            return beside, write(beside, False)
    raise AssertionError("unreachable")


def _rescued(path: Path, write: Callable[[Path, bool], T]) -> Path | None:
    """Where in the folder for temporary files the result lies now, None where that takes none either."""
    try:
        rescued = Path(tempfile.mkdtemp(prefix="dgdd-")) / (path.name[-100:] or "result")
        write(rescued, False)
    except (DgddError, OSError):
        return None
    return rescued
