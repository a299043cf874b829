"""Stored images as encoded bytes: raw pixels, PNG or WebP, each image by itself; what is decoded is what is used."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dgdd_cli.data.damage import PNG, png_chunks
from dgdd_cli.data.decode import BROKEN
from dgdd_cli.data.opening import quiet
from dgdd_cli.errors import UnknownName, UsageError
from dgdd_cli.storage.layout import TensorRule
from dgdd_cli.text import plural

NAMES = ("raw", "png", "webp")
LAYOUT = {"encoded": TensorRule("U8", 1), "offsets": TensorRule("I64", 1)}  # in the place of images
WRITTEN = {b"IHDR", b"IDAT", b"IEND"}  # the chunks of a PNG that is written here
LOSSY = b"WEBPVP8 "  # the only form of WebP that is written here, after RIFF and a length


@dataclass(frozen=True, slots=True)
class Codec:
    """`png` is lossless; `webp` takes a quality from 1 to 100."""

    name: str
    quality: int | None = None

    def __str__(self) -> str:
        return self.name if self.quality is None else f"{self.name}:{self.quality}"


def codec_named(text: str) -> Codec | None:
    """The codec that `raw`, `png` or `webp:Q` asks for, None for raw pixels. Raises UnknownName and UsageError."""
    name, colon, quality = text.partition(":")
    if name not in NAMES:
        raise UnknownName("codec", name, NAMES)
    if name != "webp":
        if colon:
            raise UsageError(f"the codec {name!r} has no quality", hint=f"--codec {name}")
        return None if name == "raw" else Codec(name)
    if not re.fullmatch(r"[0-9]{1,3}", quality) or not 1 <= int(quality) <= 100:
        raise UsageError(
            f"--codec {text[:40]}: the quality of webp is a whole number from 1 to 100", hint="--codec webp:75"
        )
    return Codec(name, int(quality))


def encode(stored: Mapping[str, Tensor], codec: Codec | None) -> dict[str, Tensor]:
    """Stored tensors with `images` uint8 (N, 3, H, W) as `encoded` uint8 (B,) and `offsets` int64 (N + 1,): image n is
    the bytes from offset n to offset n + 1. Raises UsageError where no images are stored."""
    if codec is None:
        return dict(stored)
    if "images" not in stored:
        raise UsageError(f"--codec {codec} encodes images, and {', '.join(stored)} are stored", hint="--codec raw")
    files = [_written(image.permute(1, 2, 0).numpy(), codec) for image in stored["images"].cpu()]
    offsets = torch.tensor([0, *(len(file) for file in files)]).cumsum(0)
    encoded = torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8)
    return {
        **{name: value for name, value in stored.items() if name != "images"},
        "encoded": encoded,
        "offsets": offsets,
    }


def decode(
    stored: Mapping[str, Tensor], codec: Codec | None, *, count: int, height: int, width: int
) -> dict[str, Tensor]:
    """Stored tensors with `images` again. Raises ValueError for bytes that `encode` would not have written so: damaged,
    of another format or size, too few or too many."""
    if codec is None:
        return dict(stored)
    encoded, offsets = stored["encoded"].numpy(), stored["offsets"]
    if len(offsets) != count + 1:
        raise ValueError(f"the tensor 'offsets' speaks of {len(offsets) - 1} images, its manifest of {count}")
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(encoded) or not bool((offsets.diff() > 0).all()):
        raise ValueError("the tensor 'offsets' does not cover the bytes of 'encoded' in order")
    images = np.empty((count, height, width, 3), np.uint8)
    with quiet():
        for n, (begin, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
            try:
                images[n] = _read(encoded[begin:end].tobytes(), codec, (width, height))
            except BROKEN as error:
                raise ValueError(f"image {n} cannot be decoded: {' '.join(str(error).split())}") from error
    rest = {name: value for name, value in stored.items() if name not in LAYOUT}
    return {**rest, "images": torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()}


def in_words(codec: Codec, encoded: Tensor) -> str:
    """The codec and how many bytes it took."""
    return f"{codec}, {plural(len(encoded), 'byte')}"


def _written(pixels: np.ndarray, codec: Codec) -> bytes:
    buffer = io.BytesIO()
    how: dict[str, Any] = {"compress_level": 9} if codec.name == "png" else {"quality": codec.quality, "method": 6}
    Image.fromarray(pixels).save(buffer, codec.name.upper(), **how)
    return buffer.getvalue()


def _read(content: bytes, codec: Codec, size: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W, 3) of a file of this very format, with nothing else in it."""
    if codec.name == "png":
        if not content.startswith(PNG):
            raise ValueError("it is no PNG")
        chunks = list(png_chunks(content))
        if {kind for kind, _, _ in chunks} - WRITTEN or chunks[-1][2] != len(content):
            raise ValueError("the PNG holds more than an image")
    elif content[:4] != b"RIFF" or content[8:16] != LOSSY:
        raise ValueError("it is no lossy WebP")
    elif int.from_bytes(content[4:8], "little") + 8 != len(content):
        raise ValueError("the WebP does not end where it says")
    with Image.open(io.BytesIO(content), formats=(codec.name.upper(),)) as image:
        if image.size != size or image.mode != "RGB":
            asked = f"{size[0]} x {size[1]} in RGB"
            raise ValueError(f"it is {image.width} x {image.height} in {image.mode}, its manifest asks {asked}")
        return np.asarray(image)
