"""The readers of datasets by name, and the one whose a place is."""

from __future__ import annotations

from pathlib import Path

from dgdd_cli.data.catalog import CatalogEntry
from dgdd_cli.data.embedded import DIGITS
from dgdd_cli.data.folder import FOLDER
from dgdd_cli.data.parquet import PARQUET
from dgdd_cli.data.reader import Reader

# A reader by the name of a catalog set makes that set by itself. The folder comes first and is asked last.
READERS: dict[str, Reader] = {"folder": FOLDER, "parquet": PARQUET, "digits": DIGITS}


def reader_of(root: Path, entry: CatalogEntry | None = None) -> Reader | None:
    """The reader that claims a place, the latest entry first; None where none does."""
    return next((reader for reader in reversed(READERS.values()) if reader.claims(root, entry)), None)
