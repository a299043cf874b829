"""The folder of probe banks has a bound: of the banks nobody uses, those used longest ago go first.

A bank goes when those used since fill the limit on their own, but never for a single smaller one. So a large bank does
not go at the next small one, what is kept is at most the limit and one bank more, or the last two, and two processes at
once remove the same. Where the disk is too full for a new bank, old ones go as far as that makes room for it.

A bank is data (`.f32`) and the label (`.json`) that vouches for them; the label's time is that of its last use. Data
without a label, and files that are being written, may be about to become one: they go when they are a day old. Nothing
goes that is in use, and no file whose name is not one that banks have.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dgdd_cli.storage.in_use import remove_unused

LIMIT = 4 * 2**30  # bytes; a bank of 20 probes takes a few MiB
SHARE = 0.1  # of the file system, where that is more
USABLE = 0.9  # of what is free on the disk: the rest is left to others
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


def room_limit(folder: Path) -> int:
    """The limit for this folder: 4 GiB, or a tenth of its file system where that is more."""
    try:
        return max(LIMIT, int(SHARE * shutil.disk_usage(folder).total))
    except OSError:
        return LIMIT


def disk_room(folder: Path) -> int:
    """Free bytes where the folder is or would be, less a tenth that is left to others."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    return int(USABLE * shutil.disk_usage(place).free)


def make_room(folder: Path, *, limit: int, note: Callable[[str], None]) -> None:
    """Remove the banks since whose last use others of `limit` bytes were used, and what was given up; says so."""
    kept = _kept(folder)
    for bank in (*filter(_given_up, kept), *_outlived(kept, limit)):
        _remove(bank, f"{folder} keeps the {limit / 2**30:.3g} GiB used last", note)


def free_disk(folder: Path, *, needed: int, first: str, note: Callable[[str], None]) -> None:
    """Remove the banks used longest ago until the disk has room for `needed` bytes; none when all would not do.

    The bank named `first` goes before all: it is the one to be replaced.
    """
    going = [bank for bank in _kept(folder) if bank.labelled or _given_up(bank)]
    if disk_room(folder) + USABLE * sum(bank.size for bank in going) < needed:
        return
    for bank in sorted(going, key=lambda bank: (bank.files[0].stem != first, bank.labelled, bank.used)):
        if disk_room(folder) >= needed:
            return
        _remove(bank, f"{folder} needs the disk for another of {needed / 2**20:.1f} MiB", note)


def _given_up(bank: _Kept) -> bool:
    return not bank.labelled and bank.used <= time.time() - ABANDONED


def _outlived(kept: list[_Kept], limit: int) -> list[_Kept]:
    """The banks to go, the one used longest ago first."""
    going, since = [], 0
    for place, bank in enumerate(sorted((b for b in kept if b.labelled), key=lambda b: b.used, reverse=True)):
        for_a_smaller_one_alone = place == 1 and since < bank.size
        if since >= limit and not for_a_smaller_one_alone:
            going.append(bank)
        since += bank.size
    return going[::-1]


def _remove(bank: _Kept, why: str, note: Callable[[str], None]) -> None:
    if remove_unused(*bank.files):
        what = "a probe bank" if bank.labelled else "an unfinished probe bank"
        day = time.strftime("%Y-%m-%d", time.localtime(bank.used))
        note(f"removed {what} of {bank.size / 2**20:.1f} MiB, last used on {day}: {why}")


def _kept(folder: Path) -> list[_Kept]:
    found: dict[str, list[tuple[Path, os.stat_result]]] = {}
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)  # data before its label
    except OSError:  # no folder, or one that cannot be read: nothing to remove
        return []
    for entry in entries:
        bank = _BANK.fullmatch(entry.name)
        if (bank or _UNFINISHED.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
            try:
                stat = entry.stat(follow_symlinks=False)
            except OSError:  # another process was faster
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
