"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from dgdd_cli.data.temporary import open_new
from dgdd_cli.errors import DgddError, UsageError


def check_output(path: Path, *, overwrite: bool) -> None:
    """Say now, before the work is done, what would keep `path` from being written.

    Raises UsageError when it exists and may not be overwritten, is a folder, or lies in no folder; DgddError when
    the folder cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a file", hint=f"name a file in it: {path / 'bundle.safetensors'}")
    if os.path.lexists(path) and not overwrite:
        raise _exists(path)
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"the folder of {path} does not exist", hint=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DgddError(f"cannot write {path}: the folder {folder} is read-only", hint="choose another folder")


def write_atomically(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write `data` to `path` through a temporary file beside it: flushed to the disk, then moved into place.

    The mode is 0666 less the umask. Without `overwrite` a file that another process creates meanwhile survives too.
    On any failure the temporary file is removed and whatever was at `path` stays. Raises as `check_output` does,
    and DgddError when the disk is full or fails.
    """
    check_output(path, overwrite=overwrite)
    try:
        descriptor, temporary = open_new(path.parent, ".dgdd-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                os.replace(temporary, path)
            else:
                _move_new(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DgddError(
            f"cannot write {path}: {error.strerror or error}", hint="free some space or choose another place"
        ) from error
    _sync_folder(path.parent)


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


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists already", hint="add --force to overwrite it, or choose another name")


def _sync_folder(folder: Path) -> None:
    # The file is in place; a file system that cannot sync a folder does not make that untrue.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
