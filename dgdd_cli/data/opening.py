"""From the bytes of a file to an image that Pillow has opened, or to words for what the file is instead.

Text and colour profiles of a PNG are taken out first: no pixel depends on them, and Pillow refuses a file in which one
is large. Sizes are bounded by what is decoded: a JPEG is decoded at a fraction of its size.
"""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from dgdd_cli.data.damage import JPEG, PNG, check_jpeg, png_chunks

LARGEST_IMAGE = 178_956_970  # pixels as decoded, where Pillow stops as well: 0.7 GiB as RGB
LARGEST_TEXT = 2**20  # bytes that Pillow inflates of a text chunk
TEXTS = (b"tEXt", b"zTXt", b"iTXt")

# What is an image by its name: if it cannot be read, it is a broken one and no side file.
_IMAGES = (
    ".jpg .jpeg .jpe .jfif .png .apng .gif .bmp .dib .tif .tiff .webp .avif .avifs .heic .heif .jp2 .j2k .jpx .jxl "
    ".ppm .pgm .pbm .pnm .pfm .tga .ico .pcx .sgi .ras .dds .qoi .psd .dng .cr2 .nef .arw"
)
IMAGE_SUFFIXES = frozenset(_IMAGES.split())
# Copies that editors, browsers and shells leave behind, whatever they hold.
COPIES = ("~", ".bak", ".part", ".partial", ".crdownload", ".download", ".tmp")

INSTEAD = (  # how a file begins, what it is, and what to do
    (b"version https://git-lfs", "a pointer of Git LFS, not the image itself", "git lfs pull fetches the images"),
    (b"<!doctype html", "a web page under the name of an image", "download it again: the page says what went wrong"),
    (b"<html", "a web page under the name of an image", "download it again: the page says what went wrong"),
    (b"<svg", "a vector drawing (SVG)", "draw it as pixels: rsvg-convert -o FILE.png FILE.svg"),
)
HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its messages go to stderr


class TooLarge(ValueError):
    """An intact image of more pixels than are read."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Pillow's warnings about single files off stderr, for all threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        yield


def open_image(content: bytes, size: int) -> Image.Image:
    """The image behind `content`, to be decoded at no less than 2 x `size` pixels a side; no pixel is decoded yet.

    Raises TooLarge, ValueError for a file that is damaged, and what Pillow raises.
    """
    image: Image.Image
    if content.startswith(PNG):
        image = PngImageFile(io.BytesIO(_without_text(content)))
    elif content.startswith(JPEG):
        check_jpeg(content)
        image = JpegImageFile(io.BytesIO(content))
    else:
        try:
            image = Image.open(io.BytesIO(content))
        except Image.DecompressionBombError:
            raise TooLarge(f"more than {LARGEST_IMAGE:,} pixels") from None
    size_on_disk = f"{image.width:,} x {image.height:,} pixels"
    held_whole = image.info.get("progressive")  # a progressive JPEG is, however small it is decoded
    if not held_whole:
        image.draft(None, (2 * size, 2 * size))  # JPEG: a fraction that is still twice what is needed
    if image.width * image.height > LARGEST_IMAGE:
        raise TooLarge(f"{size_on_disk}, of which at most {LARGEST_IMAGE:,} are read")
    if held_whole:
        image.draft(None, (2 * size, 2 * size))
    return image


def is_image(path: Path) -> bool:
    """Whether Pillow recognises the file, whatever it is called."""
    try:
        Image.open(path).close()
    except Image.DecompressionBombError:
        return True
    except Exception:  # of some forty plugins, on a file that is none of theirs
        return False
    return True


def counts_as_image(path: Path) -> bool:
    """Whether a file is an image, if a broken one, by its name; files of other names are looked into."""
    if path.name.lower().endswith(COPIES):
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES or (path.is_file() and is_image(path))


def instead(content: bytes) -> tuple[str, str | None]:
    """What a file is that Pillow does not know, and what to do about it."""
    head = content[:512].lstrip().lower()
    if not content:
        return "an empty file", None
    for start, what, cure in INSTEAD:
        if head.startswith(start) or (start == b"<svg" and head.startswith(b"<?xml") and start in head):
            return what, cure
    if content[4:8] == b"ftyp" and content[8:12] in HEIC:
        return "a HEIC picture, which Pillow cannot read", "convert it: magick mogrify -format jpg *.heic"
    return "not an image in a known format", None


def unknown(error: BaseException) -> bool:
    """Whether the error says that no plugin knows the file."""
    return isinstance(error, UnidentifiedImageError)


def _without_text(content: bytes) -> bytes:
    """The PNG without profiles and texts, but for those that may say which way is up."""
    chunks = list(png_chunks(content))
    kept = [
        (start, end)
        for kind, start, end in chunks
        if kind != b"iCCP" and (kind not in TEXTS or _may_turn(kind, content[start + 8 : end - 4]))
    ]
    if len(kept) == len(chunks):
        return content
    return content[: len(PNG)] + b"".join(content[start:end] for start, end in kept)


def _may_turn(kind: bytes, chunk: bytes) -> bool:
    """Whether a text holds XMP or EXIF, of no more bytes than Pillow takes."""
    keyword, _, text = chunk.partition(b"\0")
    if keyword not in (b"XML:com.adobe.xmp", b"Raw profile type exif"):
        return False
    packed = kind == b"zTXt" or (kind == b"iTXt" and text[:1] == b"\1")
    if not packed:
        return len(text) <= LARGEST_TEXT
    try:
        inflater = zlib.decompressobj()
        inflater.decompress(text[1:] if kind == b"zTXt" else text[2:].split(b"\0", 2)[2], LARGEST_TEXT)
    except (zlib.error, IndexError):
        return False
    return not inflater.unconsumed_tail
