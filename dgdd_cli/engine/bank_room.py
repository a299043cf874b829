"""The folder of probe banks stays below a limit: the banks that were used longest ago go first.

A bank is data (`.f32`) and the label (`.json`) that vouches for them; the label's time is that of its last use. Data
without a label, and files that are being written, may be about to become one: they go when they are a day old. Nothing
goes that is in use, and no file whose name is not one that banks have.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dgdd_cli.engine.in_use import remove_unused

LIMIT = 4 * 2**30  # bytes; a bank of 20 probes takes a few MiB
ABANDONED = 24 * 3600  # seconds

_BANK = re.compile(r"([0-9a-f]{32})\.(f32|json)")
_UNFINISHED = re.compile(r"\.writing-[a-z0-9_]{8}\.tmp")


@dataclass(frozen=True, slots=True)
class _Kept:
    """What lies there under one name; `files` starts with the one that is locked while it is in use."""

    files: tuple[Path, ...]
    size: int  # bytes
    used: float  # seconds since the epoch
    labelled: bool


def make_room(folder: Path, *, limit: int, note: Callable[[str], None]) -> None:
    """Remove the banks used longest ago until the folder holds at most `limit` bytes; says what it removed."""
    try:
        kept = _kept(folder)
    except OSError:  # no folder, or one that cannot be read: nothing to remove
        return
    total = sum(bank.size for bank in kept)
    for bank in sorted(kept, key=lambda bank: bank.used):
        if total <= limit:
            return
        if not bank.labelled and bank.used > time.time() - ABANDONED:
            continue
        if remove_unused(*bank.files):
            total -= bank.size
            what = "a probe bank" if bank.labelled else "an unfinished probe bank"
            day = time.strftime("%Y-%m-%d", time.localtime(bank.used))
            note(
                f"removed {what} of {bank.size / 2**20:.1f} MiB, last used on {day}: "
                f"{folder} is kept below {limit / 2**30:.3g} GiB"
            )


def _kept(folder: Path) -> list[_Kept]:
    found: dict[str, list[tuple[Path, os.stat_result]]] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):  # data before its label
            bank = _BANK.fullmatch(entry.name)
            if (bank or _UNFINISHED.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                try:
                    stat = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # another process was faster
                    continue
                found.setdefault(bank[1] if bank else entry.name, []).append((Path(entry.path), stat))
    return [
        _Kept(
            files=tuple(path for path, _ in files),
            size=sum(stat.st_size for _, stat in files),
            used=files[-1][1].st_mtime,
            labelled=files[-1][0].suffix == ".json",
        )
        for files in found.values()
    ]
