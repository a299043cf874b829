"""Whether a folder is an earlier export and nothing else, so that it may be replaced."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path

from dgdd_cli.data.entries import is_litter

METADATA, CARD, CROISSANT = "metadata.jsonl", "README.md", "croissant.json"
EARLIER_METADATA = "metadata.csv"  # what version 0.1.0 wrote
MAX_BYTES = 64 * 2**20  # of a page or table that is looked into


def is_empty(directory: Path) -> bool:
    """Whether the folder holds nothing but what an operating system leaves behind in it."""
    return all(is_litter(entry.name) for entry in directory.iterdir())


def is_export(directory: Path) -> bool:
    """Whether croissant.json says that dgdd wrote the folder, and names its table by the right sha256."""
    return _table(directory) is not None


def stranger_in(directory: Path) -> str | None:
    """Something in `directory` that an export would not have written, or None; litter is not counted."""
    known = _written(directory)
    for folder, folders, files in os.walk(directory):
        inner = Path(folder).relative_to(directory)
        folders[:] = sorted(name for name in folders if not is_litter(name))
        kept = sorted(name for name in files if not is_litter(name))
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in [*kept, *links]:
            if (inner / name).as_posix() not in known:
                return (inner / name).as_posix()
        if not kept and folder != os.fspath(directory):
            return inner.as_posix()
    return None


def _written(directory: Path) -> set[str]:
    """The relative paths of all files that the export in `directory` wrote; empty when it is none."""
    found = _table(directory)
    if found is None:
        return set()
    name, data = found
    try:
        lines = data.decode().splitlines()
        rows = csv.DictReader(lines) if name == EARLIER_METADATA else map(json.loads, lines)
        return {str(row["file_name"]) for row in rows} | {name, CARD, CROISSANT}
    except (ValueError, TypeError, KeyError, csv.Error, RecursionError):
        return set()


def _table(directory: Path) -> tuple[str, bytes] | None:
    """The name and the bytes of an export's table, or None when its croissant.json does not vouch for it."""
    try:
        page = json.loads(_read(directory / CROISSANT))
        name = page["distribution"][0]["contentUrl"]
        if page["prov:wasGeneratedBy"]["name"] != "dgdd distill" or name not in (METADATA, EARLIER_METADATA):
            return None
        data = _read(directory / name)
        return (name, data) if hashlib.sha256(data).hexdigest() == page["distribution"][0]["sha256"] else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError("too long")
    return data
