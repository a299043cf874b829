"""Banks: the exact statistics of K views over the whole source set, computed once and kept in the cache folder.

A bank lives in memory, or, when it would take more than half of what is free, in a memory-mapped file, so that its
size is bounded by the disk. A stored bank carries the fingerprint of the images it was made from and a hash of itself;
it is in use, and not removed to make room for others, as long as a run has it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dgdd_cli.engine.bank_room import LIMIT, make_room
from dgdd_cli.engine.in_use import held_while, hold, lock_shared
from dgdd_cli.engine.memory import free_memory_bytes
from dgdd_cli.errors import DataError, DgddError, UsageError
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
    if shelf is not None and (taken := _take(shelf, (len(indices), *shape), note)) is not None:
        found, handle = taken
        return held_while(found if mapped else found.clone().to(device), handle)
    if shelf is not None and mapped:
        handle, temporary = _reserve(shelf, size)
        with _or_nothing(handle, temporary):
            bank = torch.from_file(str(temporary), shared=True, size=size // 4).view(len(indices), *shape)
            _compute(compute, indices, bank, progress)
            _label(shelf, temporary, bank)
    else:
        bank = torch.empty(len(indices), *shape, device=device)
        _compute(compute, indices, bank, progress)
        stored = None if shelf is None else _store(shelf, bank.cpu(), note)
        if shelf is None or stored is None:
            return bank
        handle = stored
    held_while(bank, handle)
    make_room(shelf.folder, limit=LIMIT, note=note)
    return bank


def _begin(shelf: Shelf) -> tuple[int, Path]:
    """A new file beside the banks, in use until its handle is closed."""
    shelf.folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=shelf.folder, prefix=".writing-", suffix=".tmp")
    with _or_nothing(handle, Path(name)):
        lock_shared(handle)
    return handle, Path(name)


@contextmanager
def _or_nothing(handle: int, temporary: Path) -> Iterator[None]:
    """Work on a new file: when it fails or is interrupted, the file is closed and gone."""
    try:
        yield
    except BaseException:
        os.close(handle)
        temporary.unlink(missing_ok=True)
        raise


def _reserve(shelf: Shelf, size: int) -> tuple[int, Path]:
    """A file of this size whose blocks are the disk's promise: a mapped write to a full disk would kill the process."""
    try:
        handle, temporary = _begin(shelf)
        with _or_nothing(handle, temporary):
            os.truncate(handle, size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, size)
    except OSError as error:
        raise DgddError(
            f"no room for a bank of {size / 2**30:.1f} GiB in {shelf.folder}: {error.strerror}",
            hint="--cache-dir names another folder, --probes fresh needs none",
        ) from error
    return handle, temporary


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


def _take(shelf: Shelf, shape: tuple[int, int, int], note: Callable[[str], None]) -> tuple[Tensor, int] | None:
    """The stored bank, memory-mapped for reading, and the handle that keeps it in use; None, and why, without one."""
    try:
        label = json.loads(shelf.label.read_text(encoding="utf-8"))
        handle = hold(shelf.data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        note("the cached probe bank cannot be read: rebuilt")
        return None
    try:
        bank = _verified(shelf, label, shape)
    except DataError as error:
        os.close(handle)
        note(f"the cached probe bank {error.message}: rebuilt")
        return None
    with suppress(OSError):  # a cache that cannot be written to is no less readable
        os.utime(shelf.label)
    return bank, handle


def _verified(shelf: Shelf, label: object, shape: tuple[int, int, int]) -> Tensor:
    """The stored bank, memory-mapped; raises DataError unless it is what its label says and what is asked for."""
    if not isinstance(label, dict) or label.get("schema") != SCHEMA:
        raise DataError("cannot be read")
    if label.get("fingerprint") != shelf.fingerprint:
        raise DataError("was made from other images")
    count = shape[0] * shape[1] * shape[2]
    if label.get("shape") != list(shape) or shelf.data.stat().st_size != 4 * count:
        raise DataError("has another size than it says")
    bank = torch.from_file(str(shelf.data), shared=False, size=count).view(shape)
    if label.get("sha256") != _sha256(bank):
        raise DataError("is damaged")
    return bank


def _store(shelf: Shelf, bank: Tensor, note: Callable[[str], None]) -> int | None:
    """Keep a bank, and the handle that says it is in use; a disk that does not take it costs the next run's time."""
    try:
        handle, temporary = _begin(shelf)
        with _or_nothing(handle, temporary):
            with open(handle, "wb", closefd=False) as file:
                for part in bank.flatten().split(HASHED_AT_ONCE):
                    file.write(part.numpy().data)
            _label(shelf, temporary, bank)
    except (OSError, DgddError) as error:
        note(f"the probe bank is not kept for the next run: {getattr(error, 'strerror', None) or error}")
        return None
    return handle


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
