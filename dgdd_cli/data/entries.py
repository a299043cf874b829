"""What a folder holds, without what no user means as data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dgdd_cli.errors import DataError
from dgdd_cli.text import typeable

LITTER = {
    *(".ds_store", ".localized", "icon\r", "__macosx"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"),
    *("@eadir", "lost+found", ".directory"),
}
EXPECTED = "expected DIR/<domain>/<class>/<image>, for example DIR/photo/dog/1.jpg and DIR/sketch/dog/1.png"


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, sorted by name, without hidden names. Raises DataError when it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            kept = [entry for entry in found if not is_hidden(entry.name)]
    except FileNotFoundError:
        raise DataError(f"there is no folder {folder}", hint=f"check the path; {EXPECTED}") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file, not a folder", hint=f"unpack archives first; {EXPECTED}") from None
    except PermissionError:
        raise DataError(
            f"no permission to read the folder {folder}", hint=f"chmod -R u+rX {typeable(folder)}"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}", hint=EXPECTED) from None
    return sorted(kept, key=lambda entry: entry.name)


def is_hidden(name: str) -> bool:
    """Names that no user means as data: dot files, Thumbs.db and the like."""
    return name.startswith(".") or name == "__pycache__" or is_litter(name)


def is_litter(name: str) -> bool:
    """What operating systems leave behind in a folder that was looked at: .DS_Store, ._x.png, Thumbs.db ..."""
    return name.startswith("._") or name.casefold() in LITTER


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a folder; a symbolic link that leads nowhere or round in circles is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first few names in quotes, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
