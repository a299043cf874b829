"""Files that are written before they are moved into place."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def open_new(folder: Path, prefix: str) -> tuple[int, Path]:
    """A new file in `folder`, open for reading and writing, and its path: `<prefix><8 hex digits>.tmp`.

    The mode is 0666 less the umask, so that what becomes of it serves whom the umask lets read; `mkstemp` would make it
    the owner's alone. The name does not depend on the final one's, which may be as long as the file system allows.
    Raises OSError.
    """
    while True:
        path = folder / f"{prefix}{secrets.token_hex(4)}.tmp"
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), path
        except FileExistsError:
            continue
