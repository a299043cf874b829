"""Damage that decoders pass over: PNG checksums that nobody compares, JPEG data that no encoder writes.

A PNG has a checksum for each chunk: any damage is noticed. A JPEG has none. Noticed are a file that ends early, markers
where none can be, restart markers out of order, and a hole of zeros where zeros cannot be a flat area; a few changed
bytes or the tail of another JPEG are a valid stream of other pixels, and nothing can tell. The other formats say what
their decoders say: all of them of a file that ends early; GIF and LZW in TIFF of nearly everything larger than a
changed byte; deflate in TIFF of most, but hardly of a hole of zeros; lossless WebP of some; WebP, AVIF, JPEG 2000, BMP,
plain TIFF, PackBits and JPEG in TIFF of little more.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"

HOLE = bytes(64)  # by the usual tables 64 zero bytes are 2.7 blocks in which every coefficient is -1
_INSIDE_SCAN = re.compile(rb"\xff[^\x00\xff]")  # a marker; FF 00 is a data byte, FF FF is fill
_EOI, _SOS, _DHT, _DRI = 0xD9, 0xDA, 0xC4, 0xDD
_RESTART = range(0xD0, 0xD8)
_ASIDE = {*range(0xE0, 0xF0), 0xFE, 0xDC}  # APPn, COM, DNL
_BETWEEN_SCANS = {*_ASIDE, _SOS, _DHT, _DRI, 0xCC, 0xDB}  # and the tables of the next scan
_FRAMES = {*range(0xC0, 0xD0)} - {_DHT, 0xC8, 0xCC}
_HUFFMAN = {0xC0, 0xC1, 0xC2}


def png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG up to IEND: type, and where the whole chunk starts and ends.

    Raises ValueError for a checksum that does not match and for a file that ends before IEND.
    """
    view, start = memoryview(content), len(PNG)
    while start + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 12 + length
        if end > len(content):
            break
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise ValueError(f"damaged: the checksum of its chunk {kind.decode('ascii', 'replace')} does not match")
        yield kind, start, end
        if kind == b"IEND":
            return
        start = end
    raise ValueError("truncated: it ends before its last chunk")


def check_jpeg(content: bytes) -> None:
    """Raise ValueError where the markers or the compressed data of a JPEG are none that an encoder writes.

    What its header lacks is the decoder's to say.
    """
    position, interval, frame, parts = len(JPEG), 0, 0, 0
    sparse: dict[int, bool] = {}  # AC table -> whether zeros in a row may be a flat area
    scanned = False
    while True:
        marker, position = _marker(content, position, scanned)
        if marker is None or marker == _EOI:
            return
        body, position = _segment(content, position, scanned)
        if marker in _FRAMES and len(body) > 5:
            frame, parts = marker, body[5]
        elif marker == _DHT:
            sparse |= _flat_tables(body)
        elif marker == _DRI and len(body) >= 2:
            interval = int.from_bytes(body[:2], "big")
        elif marker == _SOS and body:
            end = _end_of_scan(content, position, interval)
            tables = {body[2 + 2 * i] & 15 for i in range(min(body[0], (len(body) - 1) // 2))}
            dense = frame in _HUFFMAN and _has_ac(frame, body) and not all(sparse.get(t, True) for t in tables)
            if dense and content.find(HOLE, position, end) >= 0:
                raise ValueError("damaged: a hole of zeros in the compressed data")
            whole = frame != 0xC2 and body[0] == parts
            _check_next(content, end, _ASIDE if whole else _BETWEEN_SCANS)
            position, scanned = end, True


def _marker(content: bytes, position: int, scanned: bool) -> tuple[int | None, int]:
    """The marker at a position and where its segment starts; None where a header is odd, which decoders judge."""
    found = position
    while content[found : found + 1] == b"\xff":
        found += 1
    if found == position or found >= len(content):
        if scanned:
            raise ValueError("damaged: no marker where one must be")
        return None, found
    return content[found], found + 1


def _segment(content: bytes, position: int, scanned: bool) -> tuple[bytes, int]:
    length = int.from_bytes(content[position : position + 2], "big")
    if length < 2 or position + length > len(content):
        if scanned:
            raise ValueError("damaged: a marker inside the compressed data, and no header behind it")
        return b"", len(content)
    return content[position + 2 : position + length], position + length


def _flat_tables(body: bytes) -> dict[int, bool]:
    """For each AC table of a DHT segment whether its code of all zeros ends a block: then zeros may be a flat area."""
    found, position = {}, 0
    while position + 17 < len(body):
        first = body[position + 17]  # codes of a length are counted up from zero: the first symbol is all zeros
        if body[position] >> 4:
            found[body[position] & 15] = first & 15 == 0 and first != 0xF0
        position += 17 + sum(body[position + 1 : position + 17])
    return found


def _has_ac(frame: int, scan: bytes) -> bool:
    return frame != 0xC2 or scan[-3] > 0  # a progressive scan that starts at 0 holds DC alone


def _end_of_scan(content: bytes, position: int, interval: int) -> int:
    """Where the marker lies that ends a scan; restart markers count up from 0, and are there only when announced."""
    due = 0
    for found in _INSIDE_SCAN.finditer(content, position):
        kind = content[found.start() + 1]
        if kind not in _RESTART:
            return found.start()
        if not interval or kind - _RESTART.start != due:
            raise ValueError("damaged: a restart marker out of order")
        due = (due + 1) % len(_RESTART)
    raise ValueError("truncated: it ends without an end marker")


def _check_next(content: bytes, position: int, allowed: set[int]) -> None:
    marker = content[position + 1]
    if marker != _EOI and marker not in allowed:
        raise ValueError(f"damaged: a marker FF {marker:02X} inside the compressed data")
