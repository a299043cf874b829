"""The container of bundles and groups files: safetensors with one metadata key.

All metadata sits in the single key `dgdd`, because with several keys the library writes them in an arbitrary order.
Tensors are read into memory of their own: a mapped file could change after it was checked.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import os
import stat
import struct
from collections.abc import Callable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor

from dgdd_cli.errors import DataError
from dgdd_cli.storage.atomic import write_atomically
from dgdd_cli.storage.foreign import Foreign, way_on
from dgdd_cli.storage.header import (
    KEY,
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    Entry,
    document_in,
    entries_in,
    read_header,
)
from dgdd_cli.storage.layout import LAYOUTS, NUMPY, TensorRule, rules_of
from dgdd_cli.text import canonical_json, printable, typeable

_WORDS = {"bundle": "bundle", "groups": "groups file", "checkpoint": "checkpoint"}
_REMEDY = {
    "bundle": "it may be damaged or changed: copy it again, or make a new one with dgdd distill",
    "groups": "it may be damaged or changed: copy it again, or make a new one with dgdd cluster",
    "checkpoint": "start the run afresh: dgdd distill ... --force",
}
_USE = {
    "bundle": "see what it holds: dgdd inspect",
    "groups": "see what it holds: dgdd inspect",
    "checkpoint": "continue its run: dgdd distill ... --resume",
}


def tensor_sha256(tensor: Tensor) -> str:
    """sha256 (hex) over the tensor's elements, row-major and little-endian."""
    array = np.ascontiguousarray(tensor.detach().cpu().numpy())
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(little.reshape(-1).view(np.uint8).data).hexdigest()


def write_container(path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write tensors and one JSON document to `path`, atomically; equal arguments give equal bytes.

    Raises UsageError when `path` exists and may not be overwritten, DataError when the document or the tensors pass
    the limits of the format, DgddError when the disk does not take them.
    """
    arrays = {name: np.ascontiguousarray(tensor.detach().cpu().numpy()) for name, tensor in tensors.items()}
    data = safetensors.numpy.save(arrays, metadata={KEY: canonical_json(document)})
    if header_bytes(data) > MAX_HEADER_BYTES:
        raise DataError(
            f"{path}: the manifest takes {header_bytes(data):,} bytes, the format allows {MAX_HEADER_BYTES:,}",
            hint="use fewer or shorter class and domain names",
        )
    if len(data) > MAX_FILE_BYTES:
        raise DataError(
            f"{path}: {len(data):,} bytes, more than the {MAX_FILE_BYTES:,} of the format", hint="lower --ipc"
        )
    write_atomically(path, data, overwrite=overwrite)


def header_bytes(data: bytes) -> int:
    """The length of the header of a safetensors file, without the eight bytes that state it."""
    (length,) = struct.unpack_from("<Q", data)
    return int(length)


def read_container(
    path: Path, *, kind: str, more: Callable[[Mapping[str, Any]], Mapping[str, TensorRule]] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the document of a file of this kind ("bundle", "groups" or "checkpoint").

    Checked here: a regular file of at most 8 GiB, a header of at most 1 MiB without duplicate keys, one document of
    the expected schema, exactly the expected tensors with their dtypes, and offsets that cover the file without a
    gap. `more` finds in the document which tensors it holds besides those of its kind, or raises ValueError. What the
    values mean is the caller's to check. Raises DataError.
    """
    with _open(path, kind) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            header, start = read_header(file, size)
            document = document_in(header)
            _check_schema(path, document, kind)
            rules = rules_of(kind, more(document) if more else None)
            entries = entries_in(header, rules, size - start)
            tensors = {entry.name: _read_tensor(file, start, entry) for entry in entries}
        except (ValueError, OSError, MemoryError) as error:
            raise invalid(path, kind, error) from error
    return tensors, document


def kind_of(path: Path) -> str:
    """The kind of file at `path` ("bundle", "groups", "checkpoint"), from its header alone; raises DataError."""
    with _open(path, "bundle") as file:
        try:
            header, _ = read_header(file, os.fstat(file.fileno()).st_size)
            document = document_in(header)
        except (ValueError, OSError) as error:
            raise invalid(path, "bundle", error) from error
    for kind, layout in LAYOUTS.items():
        if document.get("schema") == layout.schema:
            return kind
    raise _unknown_schema(path, document.get("schema"))


def invalid(path: Path, kind: str, error: Exception) -> DataError:
    """The error for a file that broke a rule, in one line."""
    reason = "it does not fit into memory" if isinstance(error, MemoryError) else str(error)
    hint = way_on(error, path, kind) if isinstance(error, Foreign) else _REMEDY[kind]
    return DataError(f"{path} is not a valid {_WORDS[kind]}: {printable(reason, length=300)}", hint=hint)


def _open(path: Path, kind: str) -> BufferedReader:
    words = _WORDS[kind]
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            what = "a folder of exported images" if (path / "croissant.json").is_file() else "a folder"
            raise DataError(f"{path} is {what}, not a {words}", hint=_near_folder(path, words))
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise DataError(f"{path} is not a regular file", hint=f"copy the {words} to a file first")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path} does not exist", hint=_near_files(path)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(
            f"cannot read {printable(str(path))}: {reason}", hint="check its name and permissions"
        ) from error


def _near_files(path: Path) -> str:
    folder = path.parent
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return f"the folder {folder} does not exist either"
    near = difflib.get_close_matches(path.name, names, n=2, cutoff=0.6)
    others = near or sorted(name for name in names if name.endswith(".safetensors"))[:3]
    if not others:
        return "make one with dgdd distill"
    return f"did you mean {' or '.join(typeable(folder / name) for name in others)}?"


def _near_folder(path: Path, words: str) -> str:
    for folder in (path, path.parent):
        names = sorted(folder.glob("*.safetensors"))[:3]
        if names:
            return f"try {' or '.join(map(typeable, names))}"
    return f"name the {words}'s file; a folder of images is a dataset, for --dataset"


def _check_schema(path: Path, document: Mapping[str, Any], kind: str) -> None:
    schema = document.get("schema")
    if schema == LAYOUTS[kind].schema:
        return
    for other, layout in LAYOUTS.items():
        if schema == layout.schema:
            raise DataError(f"{path} is a {_WORDS[other]}, not a {_WORDS[kind]}", hint=_USE[other])
    raise _unknown_schema(path, schema, kind)


def _unknown_schema(path: Path, schema: object, kind: str = "bundle") -> DataError:
    known = ", ".join(layout.schema for layout in LAYOUTS.values())
    return DataError(
        f"{path} follows the schema {printable(str(schema), length=40)!r}, and this version reads {known}",
        hint=_REMEDY[kind] if kind == "checkpoint" else "a newer version may read it: pip install --upgrade dgdd",
    )


def _read_tensor(file: BufferedReader, start: int, entry: Entry) -> Tensor:
    array = np.empty(math.prod(entry.shape), dtype=NUMPY[entry.dtype])
    file.seek(start + entry.begin)
    if array.size and file.readinto(array.view(np.uint8).data) != array.nbytes:
        raise ValueError(f"it ends inside the tensor {entry.name!r}")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(native.reshape(entry.shape))
