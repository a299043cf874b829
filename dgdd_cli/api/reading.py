"""How images are read and where what was computed is kept, from keywords."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from dgdd_cli.data.load import Reading
from dgdd_cli.storage.cache import Cache


def reading(*, skip_corrupt: bool, offline: bool, cache_dir: str | Path | None) -> Reading:
    """The Reading of a call; without a folder, the cache is the platform's own."""
    folder = Path(cache_dir) if cache_dir else platformdirs.user_cache_path("dgdd", appauthor=False)
    return Reading(skip_corrupt, offline, Cache(folder))


def assignments(settings: Mapping[str, Any] | None) -> list[str]:
    """Settings by dotted key as the command line takes them after `--set`."""
    given = (settings or {}).items()
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in given]
