"""Image files by themselves: which may be read, and how many bytes of them, whichever reader named them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dgdd_cli.data.decode import Sample
from dgdd_cli.errors import DataError
from dgdd_cli.text import printable

LARGEST_FILE = 256 * 2**20  # bytes; a larger file is no image of a dataset


def sample_of(root: Path, path: Path, label: int) -> Sample:
    """The sample in a file below `root`, called by its path from there."""
    return Sample(path.relative_to(root).as_posix(), label, partial(read_file, path), path)


def read_file(path: Path) -> bytes:
    """The bytes of a file; raises OSError, or ValueError for one of absurd size and for what is no file."""
    if is_device(path):
        raise ValueError("a pipe, socket or device, not a file")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"{size:,} bytes are more than {LARGEST_FILE:,}")
    return path.read_bytes()


def is_device(path: Path) -> bool:
    """A pipe, socket or device: opening one may block for ever. A broken link is none: reading it fails by itself."""
    return path.exists() and not path.is_file()


def below(root: Path, text: str, where: str) -> Path:
    """The file that a table or list names by its path from `root`.

    Raises DataError, with `where` it is named, for a path that leads out of `root` or cannot be one.
    """
    path = Path(text)
    if not text.strip() or "\0" in text or path.is_absolute() or path.drive or ".." in path.parts:
        raise DataError(
            f"{where}: {printable(text)!r} is no path below {root}", hint=f"paths start from {root}, without .."
        )
    return root / path
