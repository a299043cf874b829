"""From the bytes of an image file to uint8 RGB pixels of one size, in parallel and without surprises.

Every image is turned upright (EXIF), flattened over white where transparent, converted to RGB and resized to a square
with bilinear interpolation over the whole source area (antialiased), the aspect ratio squashed as is usual in domain
generalisation. The first frame of an animation counts. Files that end early or are damaged, as far as that can be told
(see damage.py), are failures, never half an image.

16-bit pictures keep the range of their format, 0 to 65,535: one that fills only the lowest 12 bits comes out nearly
black, and is remarked on rather than stretched, so that brightness can be compared between images. Floats and 32-bit
integers have no range: each image is stretched from its smallest to its largest value, which is remarked on too.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dgdd_cli.data.opening import LARGEST_IMAGE, TooLarge, instead, open_image, unknown
from dgdd_cli.progress import Progress

T = TypeVar("T")
_one_large = threading.Lock()

LARGE_IMAGE = 2**25  # pixels as decoded; larger ones are decoded one at a time, for the sake of memory
DARK = 12  # bits of 16: what fills no more is at most 15 of 255
BATCH = 64  # images between two reports of progress
WORKERS = min(16, os.cpu_count() or 1)
ORIENTATION = 0x0112  # EXIF tag; its values and what turns the picture upright:
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EIGHT_OF_SIXTEEN = ((np.arange(65536) + 128) // 257).astype(np.uint8)  # round(v * 255 / 65535)
TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")

# What Pillow's format plugins let through on hostile or broken files.
BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError),
    *(LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image that is not read yet: what messages and the cache key call it, and the file that it is in."""

    name: str
    label: int
    content: Callable[[], bytes]
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be decoded: its position among the samples, why, and what cures it, where that is known.

    `passing`: the fault may be the machine's and not the file's.
    """

    index: int
    reason: str
    cure: str | None = None
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Remark:
    """Of a decoded image: it is `dark`, as it fills `bits` of 16 only, or `stretched` to its own range."""

    index: int
    kind: Literal["dark", "stretched"]
    bits: int = 0


def decode_image(content: bytes, size: int) -> NDArray[np.uint8]:
    """The image as uint8 (3, size, size); raises one of BROKEN when it cannot be decoded."""
    return _decode(content, size, 0)[0]


def _decode(content: bytes, size: int, index: int) -> tuple[NDArray[np.uint8], Remark | None]:
    image = open_image(content, size)
    with image, _one_large if image.width * image.height > LARGE_IMAGE else nullcontext():
        turn = UPRIGHT.get(_orientation(image))
        remark = _remark(image, index)
        picture = _rgb(image).resize((size, size), Image.Resampling.BILINEAR)
    if turn is not None:  # on the square: the result is that of turning first
        picture = picture.transpose(turn)
    return np.asarray(picture).transpose(2, 0, 1), remark


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except BROKEN:  # a good picture with broken EXIF stays as it is
        return 1


def _is_sixteen_bits(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")


def _remark(image: Image.Image, index: int) -> Remark | None:
    if _is_sixteen_bits(image):
        bits = int(np.asarray(image).max()).bit_length()
        return Remark(index, "dark", bits) if 0 < bits <= DARK else None
    return Remark(index, "stretched") if image.mode in ("I", "F") else None


def _rgb(image: Image.Image) -> Image.Image:
    if _is_sixteen_bits(image):
        return Image.fromarray(EIGHT_OF_SIXTEEN[np.asarray(image).clip(0, 65535)]).convert("RGB")
    if image.mode in ("I", "F"):
        return _stretched(image)
    if image.mode in TRANSPARENT or "transparency" in image.info:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return image.convert("RGB")


def _stretched(image: Image.Image) -> Image.Image:
    levels = np.asarray(image).astype(np.float64)
    if not np.isfinite(levels).all():
        raise ValueError("pixels that are not finite")
    low, high = levels.min(), levels.max()
    scaled = (levels - low) * (255 / (high - low)) if high > low else np.zeros_like(levels)
    return Image.fromarray(scaled.clip(0, 255).round().astype(np.uint8)).convert("RGB")


def decode_samples(
    samples: Sequence[Sample], out: Tensor, stage: str, progress: Progress
) -> Generator[Failure | Remark, None, None]:
    """Decode into `out` uint8 (N, 3, size, size), row by row; yields failures and remarks in the samples' order.

    Closing the iterator early stops the work. Where the machine has no memory for an image, its error ends it.
    """
    size = out.shape[-1]

    def one(index: int) -> Failure | Remark | None:
        content = b""
        try:
            content = samples[index].content()
            pixels, remark = _decode(content, size, index)
        except BROKEN as error:
            if _without_room(error):
                raise
            return _failure(index, error, content)
        out[index] = torch.from_numpy(np.ascontiguousarray(pixels))
        return remark

    for found in in_parallel(one, len(samples), stage, progress):
        if found is not None:
            yield found


def in_parallel(work: Callable[[int], T], count: int, stage: str, progress: Progress) -> Generator[T, None, None]:
    """work(0) ... work(count - 1) in order, computed by threads; reports progress for each batch."""
    pool = ThreadPoolExecutor(WORKERS)
    try:
        starts = range(0, count, BATCH)
        batches = pool.map(lambda start: [work(i) for i in range(start, min(start + BATCH, count))], starts)
        for start, results in zip(starts, batches, strict=True):
            yield from results
            progress(stage, min(start + BATCH, count), count)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _without_room(error: BaseException) -> bool:
    """Whether memory ran out because the machine has none: a damaged file may ask for any amount by itself."""
    if not isinstance(error, MemoryError) and "out of memory" not in str(error):
        return False
    try:
        np.empty(4 * LARGEST_IMAGE, np.uint8)
    except MemoryError:
        return True
    return False


def _failure(index: int, error: BaseException, content: bytes) -> Failure:
    if isinstance(error, TooLarge | Image.DecompressionBombError):
        cure = "make it smaller, for one with magick FILE -resize 4096x4096 FILE"
        return Failure(index, f"it is too large: {error}", cure)
    if unknown(error):
        return Failure(index, *instead(content))
    system = isinstance(error, OSError) and error.errno is not None
    return Failure(index, reason(error), passing=system or isinstance(error, MemoryError))


def reason(error: BaseException) -> str:
    """Why a file could not be read, in one line without its path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
