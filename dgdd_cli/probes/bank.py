"""Banks: the exact statistics of K views over the whole source set, computed once and kept in the cache folder.

A bank lives in memory, or, when it would take more than half of what is free, in a memory-mapped file, so that its
size is bounded by the disk. A stored bank carries the fingerprint of the images it was made from and a hash of itself;
it is in use, and not removed to make room for others, as long as a run has it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dgdd_cli.errors import DataError, DgddError, UsageError
from dgdd_cli.progress import Progress
from dgdd_cli.runtime.memory import free_memory_bytes
from dgdd_cli.storage.bank_room import disk_room, free_disk, make_room, room_limit
from dgdd_cli.storage.in_use import held_while, hold, lock_shared, map_held
from dgdd_cli.storage.temporary import open_new
from dgdd_cli.text import plural

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
    UsageError with the estimate, before it starts, when neither memory nor disk have room for one to be computed.
    """
    whole = (len(indices), *shape)
    size = 4 * math.prod(whole)
    known = free_memory_bytes(device)
    free = math.inf if known is None else known
    large = 2 * size > free
    if shelf is not None and (taken := _take(shelf, whole, note)) is not None:
        found, handle = taken
        with _or_nothing(handle):
            bank = found if large else found.clone().to(device)
        return held_while(bank, handle)
    mapped = large and _placement(size, len(indices), free, shelf, note)
    if shelf is not None and mapped:
        bank, handle, temporary = _reserve(shelf, whole)
        with _or_nothing(handle, temporary):
            _compute(compute, indices, bank, progress)
            with _or_noted(note):
                _label(shelf, temporary, bank)
            with suppress(OSError):  # where it is not kept: mapped, it needs no name
                temporary.unlink(missing_ok=True)
    else:
        bank = torch.empty(whole, device=device)
        _compute(compute, indices, bank, progress)
        stored = None if shelf is None else _store(shelf, bank.cpu(), note)
        if shelf is None or stored is None:
            return bank
        handle = stored
    held_while(bank, handle)
    make_room(shelf.folder, limit=room_limit(shelf.folder), note=note)
    return bank


def _begin(shelf: Shelf) -> tuple[int, Path]:
    """A new file beside the banks, in use until its handle is closed."""
    shelf.folder.mkdir(parents=True, exist_ok=True)
    handle, path = open_new(shelf.folder, ".writing-")
    with _or_nothing(handle, path):
        lock_shared(handle)
    return handle, path


@contextmanager
def _or_nothing(handle: int, *temporary: Path) -> Iterator[None]:
    """Work on a file: when it fails or is interrupted, the file is closed, and a new one gone."""
    try:
        yield
    except BaseException:
        os.close(handle)
        with suppress(OSError):
            for path in temporary:
                path.unlink(missing_ok=True)
        raise


@contextmanager
def _or_noted(note: Callable[[str], None]) -> Iterator[None]:
    """Keep a bank: a disk that does not take it costs the next run's time."""
    try:
        yield
    except OSError as error:
        note(f"the probe bank is not kept for the next run: {error.strerror or error}")


def _reserve(shelf: Shelf, shape: tuple[int, int, int]) -> tuple[Tensor, int, Path]:
    """A mapped file whose blocks are the disk's promise: a mapped write to a full disk would kill the process."""
    size = 4 * math.prod(shape)
    try:
        handle, temporary = _begin(shelf)
        with _or_nothing(handle, temporary):
            os.truncate(handle, size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, size)
            return map_held(temporary, handle, shape, shared=True), handle, temporary
    except OSError as error:
        raise DgddError(
            f"no room for a bank of {size / 2**30:.1f} GiB in {shelf.folder}: {error.strerror or error}",
            hint="--cache-dir names another folder, --probes fresh needs none",
        ) from error


def _compute(compute: Callable[[int], Tensor], indices: Sequence[int], bank: Tensor, progress: Progress) -> None:
    progress("probe bank", 0, len(indices))
    for place, index in enumerate(indices):
        bank[place] = compute(index)
        progress("probe bank", place + 1, len(indices))


def _placement(size: int, count: int, free: float, shelf: Shelf | None, note: Callable[[str], None]) -> bool:
    """Whether a large bank goes to the disk, else to memory. Raises UsageError where it fits nowhere, not even in the
    place of banks that nobody uses."""
    room = disk_room(shelf.folder) if shelf is not None else 0
    if size > max(room, free) and shelf is not None:
        free_disk(shelf.folder, needed=size, first=shelf.name, note=note)
        room = disk_room(shelf.folder)
    if size <= max(room, free):
        return size <= room
    most = int(max(free / 2, room) // max(1, size // count))
    raise UsageError(
        f"a bank of {plural(count, 'probe')} needs {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory and "
        f"{room / 2**30:.1f} GiB of disk are free",
        hint=f"--probes bank:{most}, or --probes fresh" if most else "--probes fresh",
    )


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
        with _or_nothing(handle):
            bank = _verified(shelf, handle, label, shape)
    except DataError as error:
        note(f"the cached probe bank {error.message}: rebuilt")
        return None
    with suppress(OSError):  # a cache that cannot be written to is no less readable
        os.utime(shelf.label)
    return bank, handle


def _verified(shelf: Shelf, handle: int, label: object, shape: tuple[int, int, int]) -> Tensor:
    """The stored bank, memory-mapped; raises DataError unless it is what its label says and what is asked for."""
    if not isinstance(label, dict) or label.get("schema") != SCHEMA:
        raise DataError("cannot be read")
    if label.get("fingerprint") != shelf.fingerprint:
        raise DataError("was made from other images")
    if label.get("shape") != list(shape) or os.fstat(handle).st_size != 4 * math.prod(shape):
        raise DataError("has another size than it says")
    try:
        bank = map_held(shelf.data, handle, shape, shared=False)
    except FileNotFoundError as error:
        raise DataError("was replaced or removed meanwhile") from error
    except OSError as error:
        raise DataError("cannot be read") from error
    if label.get("sha256") != _sha256(bank):
        raise DataError("is damaged")
    return bank


def _store(shelf: Shelf, bank: Tensor, note: Callable[[str], None]) -> int | None:
    """Keep a bank; the handle that says it is in use, or None where the disk did not take it."""
    with _or_noted(note):
        handle, temporary = _begin(shelf)
        with _or_nothing(handle, temporary):
            with open(handle, "wb", closefd=False) as file:
                for part in bank.flatten().split(HASHED_AT_ONCE):
                    file.write(part.numpy().data)
            _label(shelf, temporary, bank)
        return handle
    return None


def _label(shelf: Shelf, written: Path, bank: Tensor) -> None:
    """Put the written data in their place, then the label that vouches for them: a run killed between leaves a pair
    that does not verify, which the next run rebuilds."""
    label = {
        "schema": SCHEMA,
        "fingerprint": shelf.fingerprint,
        "shape": list(bank.shape),
        "sha256": _sha256(bank),
    }
    handle, beside = _begin(shelf)
    with _or_nothing(handle, beside):
        beside.write_text(json.dumps(label, sort_keys=True), encoding="utf-8")
        os.replace(written, shelf.data)
        os.replace(beside, shelf.label)
    os.close(handle)


def _sha256(bank: Tensor) -> str:
    digest = hashlib.sha256()
    for part in bank.flatten().split(HASHED_AT_ONCE):
        digest.update(part.numpy().data)
    return digest.hexdigest()
