"""From keywords to where what was computed is kept, and to the settings of `--set`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from dgdd_cli.storage.cache import Cache


def cache_at(folder: str | Path | None) -> Cache:
    """The cache in a folder, or else in the platform's own."""
    return Cache(Path(folder) if folder else platformdirs.user_cache_path("dgdd", appauthor=False))


def assignments(settings: Mapping[str, Any] | None) -> list[str]:
    """Settings by dotted key as the command line takes them after `--set`."""
    given = (settings or {}).items()
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in given]
