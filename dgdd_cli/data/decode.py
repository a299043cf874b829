"""From the bytes of an image file to uint8 RGB pixels of one size, in parallel and without surprises.

Every image is turned upright (EXIF), flattened over white where transparent, converted to RGB and resized to a square
with bilinear interpolation over the whole source area (antialiased), the aspect ratio squashed as is usual in domain
generalisation. The first frame of an animation counts. Truncated files are failures, never half an image.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dgdd_cli.progress import Progress

T = TypeVar("T")

LARGEST_IMAGE = 89_478_485  # pixels; beyond it a small file may be made to fill the memory
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
TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")

# What Pillow's format plugins let through on hostile or broken files.
BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError),
    *(LookupError, TypeError, AttributeError, ArithmeticError, NotImplementedError, MemoryError),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image that is not read yet; `name` is what messages and the cache key say."""

    name: str
    label: int
    content: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be decoded: its position among the samples, and why."""

    index: int
    reason: str


def decode_image(content: bytes, size: int) -> NDArray[np.uint8]:
    """The image as uint8 (3, size, size); raises one of BROKEN when it cannot be decoded."""
    with Image.open(io.BytesIO(content)) as image:
        if image.width * image.height > LARGEST_IMAGE:
            raise ValueError(f"{image.width} x {image.height} pixels are more than {LARGEST_IMAGE:,}")
        image.draft(None, (2 * size, 2 * size))  # JPEG: decode at a fraction that is still twice what is needed
        turn = UPRIGHT.get(_orientation(image))
        picture = _rgb(image).resize((size, size), Image.Resampling.BILINEAR)
    if turn is not None:  # on the square: the result is that of turning first
        picture = picture.transpose(turn)
    return np.asarray(picture).transpose(2, 0, 1)


def is_image(head: Callable[[], bytes]) -> bool:
    """Whether Pillow recognises the content, whatever the file is called."""
    try:
        Image.open(io.BytesIO(head())).close()
    except (*BROKEN, UnidentifiedImageError):
        return False
    return True


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except BROKEN:  # a good picture with broken EXIF stays as it is
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return _eight_bits(image, 0.0, 65535.0)
    if image.mode in ("I", "F"):  # no range of their own: from the smallest to the largest value
        lowest, highest = image.getextrema()
        return _eight_bits(image, float(lowest), float(highest))  # type: ignore[arg-type]
    if image.mode in TRANSPARENT or "transparency" in image.info:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image, low: float, high: float) -> Image.Image:
    levels = np.asarray(image).astype(np.float64)
    if not np.isfinite(levels).all():
        raise ValueError("pixels that are not finite")
    scaled = (levels - low) * (255 / (high - low)) if high > low else np.zeros_like(levels)
    return Image.fromarray(scaled.clip(0, 255).round().astype(np.uint8)).convert("RGB")


def decode_samples(
    samples: Sequence[Sample], out: Tensor, stage: str, progress: Progress
) -> Generator[Failure, None, None]:
    """Decode into `out` uint8 (N, 3, size, size), row by row; yields failures in the samples' order.

    Closing the iterator early stops the work.
    """
    size = out.shape[-1]

    def one(index: int) -> Failure | None:
        try:
            out[index] = torch.from_numpy(np.ascontiguousarray(decode_image(samples[index].content(), size)))
        except BROKEN as error:
            return Failure(index, reason(error))
        return None

    for failure in in_parallel(one, len(samples), stage, progress):
        if failure is not None:
            yield failure


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


def reason(error: BaseException) -> str:
    """Why a file could not be read, in one line without its path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
