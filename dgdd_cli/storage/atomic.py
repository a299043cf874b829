"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from dgdd_cli.errors import DgddError, NameTaken, UsageError
from dgdd_cli.storage.temporary import open_new
from dgdd_cli.text import typeable

_KINDS = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def check_output(path: Path, *, overwrite: bool) -> None:
    """Say now, before the work is done, what would keep `path` from being written.

    Raises NameTaken when it exists and may not be overwritten, or is a folder, a device, a pipe or a socket, which no
    permission to overwrite is about; UsageError when it lies in no folder; DgddError when the folder cannot be written
    to. A link counts as what it points to.
    """
    file = destination(path)
    if os.path.lexists(file) and not overwrite:
        raise _exists(path)
    folder = file.parent
    if not folder.is_dir():
        raise UsageError(f"the folder of {file} does not exist", hint=f"mkdir -p {typeable(folder)}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DgddError(f"cannot write {path}: the folder {folder} is read-only", hint="choose another folder")


def destination(path: Path) -> Path:
    """The file that writing to `path` makes or replaces: a link stays, and what it points to is written.

    Raises NameTaken for what exists and is no regular file, DgddError where nobody can tell.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Path(os.path.realpath(path)) if path.is_symlink() else path
    except OSError as error:  # a ring of links, no permission
        raise DgddError(f"cannot write {path}: {error.strerror}", hint="choose another name") from error
    if stat.S_ISDIR(found.st_mode):
        inside = typeable(path / "bundle.safetensors")
        raise NameTaken(f"{path} is a folder, not a file", hint=f"name a file in it: {inside}")
    file = Path(os.path.realpath(path)) if path.is_symlink() else path
    if not stat.S_ISREG(found.st_mode) or not file.exists():  # the second: a descriptor's file without a name
        kind = next((word for test, word in _KINDS if test(found.st_mode)), "a file without a name")
        raise NameTaken(f"{path} is {kind} and is never replaced", hint="name a file of its own")
    return file


def write_atomically(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write `data` to `path` through a temporary file beside it: flushed to the disk, then moved into place.

    The mode is 0666 less the umask. Without `overwrite` a file that another process creates meanwhile survives too.
    On any failure the temporary file is removed and whatever was at `path` stays. Raises as `check_output` does,
    and DgddError when the disk is full or fails.
    """
    check_output(path, overwrite=overwrite)
    file = destination(path)
    try:
        descriptor, temporary = open_new(file.parent, ".dgdd-")
        try:
            with os.fdopen(descriptor, "wb") as writing:
                writing.write(data)
                writing.flush()
                os.fsync(writing.fileno())
            if overwrite:
                os.replace(temporary, file)
            else:
                _move_new(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DgddError(
            f"cannot write {path}: {error.strerror or error}", hint="free some space or choose another place"
        ) from error
    _sync_folder(file.parent)


def _move_new(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # unlike a rename, a link never replaces
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if os.path.lexists(path):  # a file system without links: the best that it allows
            raise _exists(path) from None
        os.replace(temporary, path)


def _exists(path: Path) -> NameTaken:
    return NameTaken(f"{path} exists already", hint="add --force to overwrite it, or choose another name")


def _sync_folder(folder: Path) -> None:
    # The file is in place; a file system that cannot sync a folder does not make that untrue.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
