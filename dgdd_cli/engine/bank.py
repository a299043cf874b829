"""Banks: the exact statistics of K views over the whole source set, computed once and kept in the cache folder.

A bank lives in memory, or, when it would take more than half of what is free, in a memory-mapped file, so that its
size is bounded by the disk. A stored bank carries the fingerprint of the images it was made from and a hash of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dgdd_cli.engine.memory import free_memory_bytes
from dgdd_cli.errors import DgddError, UsageError
from dgdd_cli.progress import Progress

SCHEMA = "dgdd.bank/1"
HASHED_AT_ONCE = 2**24


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where a bank is kept: a folder, a name made of everything but the images, and the images' fingerprint."""

    folder: Path
    name: str
    fingerprint: str

    @property
    def data(self) -> Path:
        return self.folder / f"{self.name}.f32"

    @property
    def label(self) -> Path:
        return self.folder / f"{self.name}.json"


def shelf_name(facts: Sequence[object]) -> str:
    """sha256 (hex, 32 digits) of JSON facts: what a bank depends on, beside the images."""
    return hashlib.sha256(json.dumps(facts, separators=(",", ":")).encode()).hexdigest()[:32]


def fill_bank(
    compute: Callable[[int], Tensor],
    indices: Sequence[int],
    shape: tuple[int, int],
    *,
    device: torch.device,
    shelf: Shelf | None,
    progress: Progress,
    note: Callable[[str], None],
) -> Tensor:
    """Statistics (K, R, F) float32 of the views in `indices`: from the shelf when they lie there, else computed.

    `compute(index)` gives (R, F) = `shape`. In memory on `device`, or memory-mapped on the CPU when large. Raises
    UsageError with the estimate, before it starts, when neither memory nor disk have room.
    """
    size = 4 * len(indices) * shape[0] * shape[1]
    mapped = _placement(size, len(indices), shelf, device)
    if shelf is not None and (found := _take(shelf, (len(indices), *shape), note)) is not None:
        return found if mapped else found.clone().to(device)
    if shelf is not None and mapped:
        temporary = _reserve(shelf, size)
        try:
            bank = torch.from_file(temporary, shared=True, size=size // 4).view(len(indices), *shape)
            _compute(compute, indices, bank, progress)
            _label(shelf, Path(temporary), bank)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return bank
    bank = torch.empty(len(indices), *shape, device=device)
    _compute(compute, indices, bank, progress)
    if shelf is not None:
        _store(shelf, bank.cpu(), note)
    return bank


def _reserve(shelf: Shelf, size: int) -> str:
    """A file of this size whose blocks are the disk's promise: a mapped write to a full disk would kill the process."""
    temporary: str | None = None
    try:
        shelf.folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=shelf.folder, prefix=".writing-", suffix=".tmp")
        try:
            os.truncate(handle, size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, size)
        finally:
            os.close(handle)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise DgddError(
            f"no room for a bank of {size / 2**30:.1f} GiB in {shelf.folder}: {error.strerror}",
            hint="--cache-dir names another folder, --probes fresh needs none",
        ) from error
    return temporary


def _compute(compute: Callable[[int], Tensor], indices: Sequence[int], bank: Tensor, progress: Progress) -> None:
    progress("probe bank", 0, len(indices))
    for place, index in enumerate(indices):
        bank[place] = compute(index)
        progress("probe bank", place + 1, len(indices))


def _placement(size: int, count: int, shelf: Shelf | None, device: torch.device) -> bool:
    """Whether the bank is to be memory-mapped. Raises UsageError where it fits nowhere."""
    free = free_memory_bytes(device)
    if free is None or 2 * size <= free:
        return False
    room = _disk_room(shelf.folder) if shelf is not None else 0
    if size <= room:
        return True
    if size <= free:
        return False
    most = int(max(free / 2, room) // max(1, size // count))
    raise UsageError(
        f"a bank of {count} probes needs {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory and "
        f"{room / 2**30:.1f} GiB of disk are free",
        hint=f"--probes bank:{most}, or --probes fresh" if most else "--probes fresh",
    )


def _disk_room(folder: Path) -> int:
    """Free bytes where the folder is or would be, less a tenth that is left to others."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    return int(shutil.disk_usage(place).free * 0.9)


def _take(shelf: Shelf, shape: tuple[int, int, int], note: Callable[[str], None]) -> Tensor | None:
    """The stored bank, memory-mapped for reading, or None; says why a stored one is not used."""
    try:
        label = json.loads(shelf.label.read_text(encoding="utf-8"))
        stored = shelf.data.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        label, stored = None, 0
    if not isinstance(label, dict) or label.get("schema") != SCHEMA:
        note("the cached probe bank cannot be read: rebuilt")
        return None
    if label.get("fingerprint") != shelf.fingerprint:
        note("the cached probe bank was made from other images: rebuilt")
        return None
    count = shape[0] * shape[1] * shape[2]
    if label.get("shape") != list(shape) or stored != 4 * count:
        note("the cached probe bank has another size than it says: rebuilt")
        return None
    bank = torch.from_file(str(shelf.data), shared=False, size=count).view(shape)
    if label.get("sha256") != _sha256(bank):
        note("the cached probe bank is damaged: rebuilt")
        return None
    return bank


def _store(shelf: Shelf, bank: Tensor, note: Callable[[str], None]) -> None:
    """Keep a bank; a disk that does not take it costs nothing but the next run's time."""
    temporary: str | None = None
    try:
        shelf.folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=shelf.folder, prefix=".writing-", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            for part in bank.flatten().split(HASHED_AT_ONCE):
                file.write(part.numpy().data)
        _label(shelf, Path(temporary), bank)
    except (OSError, DgddError) as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        note(f"the probe bank is not kept for the next run: {getattr(error, 'strerror', None) or error}")


def _label(shelf: Shelf, written: Path, bank: Tensor) -> None:
    """Put the written data in their place, then the label that vouches for them: a run killed between leaves a pair
    that does not verify, which the next run rebuilds."""
    label = {
        "schema": SCHEMA,
        "fingerprint": shelf.fingerprint,
        "shape": list(bank.shape),
        "sha256": _sha256(bank),
    }
    os.replace(written, shelf.data)
    beside = shelf.label.with_suffix(f".{os.getpid()}.part")
    beside.write_text(json.dumps(label, sort_keys=True), encoding="utf-8")
    os.replace(beside, shelf.label)


def _sha256(bank: Tensor) -> str:
    digest = hashlib.sha256()
    for part in bank.flatten().split(HASHED_AT_ONCE):
        digest.update(part.numpy().data)
    return digest.hexdigest()
