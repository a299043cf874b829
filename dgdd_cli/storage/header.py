"""A safetensors header, read without any trust.

The file starts with a little-endian u64 (header length) and a JSON header; one gap-free byte buffer follows. The
library that defines the format accepts duplicate keys, extra fields and hundreds of thousands of tensors; this
reader does not. Every rule that is broken is a ValueError whose text continues "is not a valid bundle: ...".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import numpy as np

from dgdd_cli.storage.foreign import HEAD_BYTES, Foreign, recognised
from dgdd_cli.storage.layout import NUMPY, TensorRule, check_names, misfit
from dgdd_cli.text import printable, strict_json

KEY = "dgdd"
MAX_FILE_BYTES = 8 * 2**30
MAX_HEADER_BYTES = 2**20
MAX_TENSORS = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: where its bytes lie behind the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file: BufferedReader, size: int) -> tuple[dict[str, Any], int]:
    """The header and where the tensors start; `size` is the file's. Raises ValueError."""
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read")
    head = file.read(HEAD_BYTES)
    if not head:
        raise ValueError("it is empty")
    length = int.from_bytes(head[:8], "little")
    begins = head[8:9] == b"{"
    if not begins or length > MAX_HEADER_BYTES:  # else no foreign file: a header of 0x480 bytes starts as a pickle does
        foreign = recognised(head)
        if foreign is not None:
            raise foreign
    if not begins or length > size - 8:
        raise ValueError("it is no safetensors file, or it is truncated")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header takes {length:,} bytes, more than the {MAX_HEADER_BYTES:,} that are read")
    file.seek(8)
    raw = file.read(length)
    if len(raw) < length:
        raise ValueError("it is truncated")
    try:
        header = strict_json(raw.decode())
    except UnicodeDecodeError:
        raise ValueError("its header is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"in its header, {error}") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, 8 + length


def document_in(header: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON document in the header's single metadata key; raises ValueError."""
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or KEY not in metadata:
        names = [repr(printable(name, length=40)) for name in list(header)[:4] if name != "__metadata__"][:3]
        held = f" (it holds {', '.join(names)}{' ...' if len(header) > 4 else ''})" if names else ""
        raise Foreign(f"it has no dgdd manifest; another program wrote it{held}")
    if len(metadata) > 1:
        raise ValueError("it has metadata besides the dgdd manifest")
    text = metadata[KEY]
    if not isinstance(text, str):
        raise ValueError("its manifest is not a JSON text")
    try:
        document = strict_json(text)
    except ValueError as error:
        raise ValueError(f"in its manifest, {error}") from None
    if not isinstance(document, dict):
        raise ValueError("its manifest is not a JSON object")
    return document


def entries_in(header: Mapping[str, Any], rules: Mapping[str, TensorRule], buffer_bytes: int) -> list[Entry]:
    """The tensors of a header in file order, gap-free and exactly `rules`; raises ValueError."""
    fields = {name: value for name, value in header.items() if name != "__metadata__"}
    if len(fields) > MAX_TENSORS:
        raise ValueError(f"it holds {len(fields):,} tensors, more than the {MAX_TENSORS} that are read")
    check_names(fields, rules)
    entries = sorted(
        (_entry(name, value, rules[name]) for name, value in fields.items()), key=lambda e: (e.begin, e.end)
    )
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise ValueError(f"the tensor {entry.name!r} does not start where the one before ends")
        position = entry.end
    if position != buffer_bytes:
        raise ValueError(f"it is truncated or has bytes to spare: {buffer_bytes:,} bytes for {position:,} of tensors")
    return entries


def _entry(name: str, value: object, rule: TensorRule) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the header's entry for {name!r} is not dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"the header's entry for {name!r} has no proper shape and offsets")
    if dtype != rule.dtype or len(shape) != rule.dimensions:
        raise ValueError(misfit(name, rule, str(dtype), tuple(shape)))
    begin, end = offsets
    if end - begin != math.prod(shape) * np.dtype(NUMPY[rule.dtype]).itemsize:
        raise ValueError(f"the tensor {name!r} does not have as many bytes as its shape {shape} needs")
    return Entry(name, rule.dtype, tuple(shape), begin, end)


def _is_sizes(value: object) -> bool:
    return (
        isinstance(value, list) and len(value) <= 8 and all(type(v) is int and 0 <= v <= MAX_FILE_BYTES for v in value)
    )
