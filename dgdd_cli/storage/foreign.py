"""What a file is that is no container of dgdd, told from its first bytes, and what leads on."""

from __future__ import annotations

from pathlib import Path

from dgdd_cli.text import typeable

HEAD_BYTES = 1024  # are enough to tell

_MAKE = {
    "bundle": "only bundles of dgdd distill are read; evaluating the sets of other tools is not supported yet",
    "groups": "only groups of dgdd cluster are read: dgdd cluster DATASET --groups 8",
    "checkpoint": "start the run afresh: dgdd distill ... --force",
}
_PICKLE = "it looks like a pickle (.pt), which can run code and is never opened"
_PACKED = (
    (b"\x1f\x8b", "compressed with gzip", "gunzip -c {file} > unpacked.safetensors"),
    (b"BZh", "compressed with bzip2", "bunzip2 -c {file} > unpacked.safetensors"),
    (b"\xfd7zXZ\0", "compressed with xz", "xz -dc {file} > unpacked.safetensors"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "zstd -dc {file} > unpacked.safetensors"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x {file}"),
    (b"Rar!\x1a\x07", "a RAR archive", "unrar x {file}"),
)
_ARRAYS = ((b"\x93NUMPY", "a NumPy array (.npy)"), (b"\x89HDF\r\n\x1a\n", "an HDF5 file"))
_PICTURES = ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"))
_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_ZIP = b"PK\x03\x04"


class Foreign(ValueError):
    """A file of another kind: the text continues "is not a valid bundle: ..."; `hint` may hold {file} and {folder}.

    Without a hint it is data of another tool, of which only the reader knows what it wanted instead.
    """

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


def way_on(error: Foreign, path: Path, kind: str) -> str:
    """What to do about a foreign file at `path` where one of this kind ("bundle", "groups", "checkpoint") was asked."""
    if error.hint is None:
        return _MAKE[kind]
    hint = error.hint.format(file=typeable(path), folder=typeable(path.parent))
    return f"{hint}\n{_MAKE[kind]}" if kind == "checkpoint" else hint


def recognised(head: bytes) -> Foreign | None:
    """What a file that begins with `head` is; None when nothing is known about it."""
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return Foreign("it is a Git LFS pointer; the file itself was not fetched", "git -C {folder} lfs pull")
    if b"/annex/objects/" in head[:256]:
        return Foreign("it is a git-annex pointer; the file itself was not fetched", "git annex get {file}")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")):
        return Foreign(
            "it is a web page, not the file that the page offers",
            "see what it says: head -c 400 {file}\ndownload the file's own address, which may ask for a login",
        )
    if head.startswith(_ZIP):
        return _zip(head)
    if len(head) > 8 and head.startswith(_PICKLES):  # the first eight bytes of a bundle may be these too
        return Foreign(_PICKLE)
    for magic, what, command in _PACKED:
        if head.startswith(magic):
            return Foreign(f"it is {what}, no safetensors file", f"unpack it first: {command}")
    if head[257:262] == b"ustar":
        return Foreign("it is a tar archive, no safetensors file", "unpack it first: tar -xf {file}")
    for magic, what in _ARRAYS:
        if head.startswith(magic):
            return Foreign(f"it is {what}, no safetensors file")
    for magic, what in _PICTURES:
        if head.startswith(magic):
            return Foreign(f"it is a picture ({what}), no safetensors file", "name the bundle that it was drawn from")
    return _text(head)


def _zip(head: bytes) -> Foreign:
    length = int.from_bytes(head[26:28], "little")
    first = head[30 : 30 + length]  # the name of the first member
    if first.endswith(b"data.pkl"):
        return Foreign(_PICKLE)
    if first.endswith(b".npy"):
        return Foreign("it is a file of NumPy arrays (.npz), no safetensors file")
    return Foreign("it is a zip archive, no safetensors file", "unpack it first: unzip {file}")


def _text(head: bytes) -> Foreign | None:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not merely a letter that was cut
            return None
        text = head[: error.start].decode()
    if not text or not all(c.isprintable() or c in "\n\r\t" for c in text):
        return None
    return Foreign("it is text, no safetensors file", "see what it says: head -c 400 {file}")
