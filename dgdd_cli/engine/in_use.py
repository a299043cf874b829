"""Files in use: those who read or write one hold a shared lock on it, and only whoever has it alone may remove it.

The lock lies on the file, not on its name, and ends with the process: nobody has to clean up after a crash.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

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


def held_while(tensor: Tensor, handle: int) -> Tensor:
    """The tensor itself; the handle is closed when it is gone."""
    weakref.finalize(tensor, os.close, handle)
    return tensor


def remove_unused(path: Path, *beside: Path) -> bool:
    """Remove a file and those that belong to it, unless it is in use or one cannot know; whether it is gone."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), path.stat()):
            return False  # another file has taken its place meanwhile
        for file in (*beside, path):
            file.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
