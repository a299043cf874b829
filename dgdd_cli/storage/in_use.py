"""Files in use: those who read or write one hold a shared lock on it, and only whoever has it alone may remove it.

The lock lies on the file, not on its name, and ends with the process: nobody has to clean up after a crash.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import weakref
from pathlib import Path

import torch
from torch import Tensor


def lock_shared(handle: int) -> None:
    """Mark an open file as in use until the handle is closed; on a file system without locks nothing happens.

    Raises FileNotFoundError for a file that is being removed.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FileNotFoundError("the file is being removed") from error
    except OSError:
        return
    if os.fstat(handle).st_nlink == 0:
        raise FileNotFoundError("the file was removed")


def hold(path: Path) -> int:
    """A handle that keeps the file at `path` in use; raises OSError where it cannot be read."""
    handle = os.open(path, os.O_RDONLY)
    try:
        lock_shared(handle)
    except BaseException:
        os.close(handle)
        raise
    return handle


def map_held(path: Path, handle: int, shape: tuple[int, int, int], *, shared: bool) -> Tensor:
    """The float32 file at `path`, memory-mapped; raises OSError where it cannot be, or is not the one held."""
    try:
        mapped = torch.from_file(str(path), shared=shared, size=math.prod(shape)).view(shape)
    except RuntimeError as error:
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "the file was removed") from error
        raise OSError(errno.EIO, str(error)) from error
    if not os.path.samestat(os.fstat(handle), path.stat()):  # torch opens a name, which may be another file's meanwhile
        raise FileNotFoundError(errno.ENOENT, "another file has taken its place")
    return mapped


def held_while(tensor: Tensor, handle: int) -> Tensor:
    """The tensor itself; the handle is closed when its storage is gone, which a view of it keeps as well."""
    weakref.finalize(tensor.untyped_storage(), os.close, handle)
    return tensor


def remove_unused(path: Path, *beside: Path) -> bool:
    """Remove a file and those that belong to it, unless it is in use or one cannot know; whether it is gone.

    One that another process has removed meanwhile is gone too. The file itself goes last: from then on another process
    may store all of them anew.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), path.stat()):
            return False  # another file has taken its place meanwhile
        for file in (*beside, path):
            file.unlink(missing_ok=True)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    finally:
        os.close(handle)
    return True
