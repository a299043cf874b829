"""Codecs: what is encoded decodes to what is used, and nothing else is read."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dgdd_cli.errors import UnknownName, UsageError
from dgdd_cli.synthesis.codec import Codec, codec_named, decode, encode

SIZE = 24


def pictures(count: int = 3) -> torch.Tensor:
    """Smooth ones, which a lossy codec keeps."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] * (255 / SIZE)
    all_of = [np.stack([x, y, np.full_like(x, 40 * n)], 0) for n in range(count)]
    return torch.from_numpy(np.stack(all_of).astype(np.uint8))


def there_and_back(images: torch.Tensor, codec: Codec) -> torch.Tensor:
    return decode(encode({"images": images}, codec), codec, count=len(images), height=SIZE, width=SIZE)["images"]


def test_png_is_lossless_and_webp_is_near():
    images = pictures()
    assert torch.equal(there_and_back(images, Codec("png")), images)
    near = there_and_back(images, Codec("webp", 90))
    assert near.dtype == torch.uint8
    assert 0 < (near.float() - images).abs().mean() < 4


def test_a_higher_quality_takes_more_bytes_and_the_same_one_the_same():
    noise = torch.randint(256, (4, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sizes = [len(encode({"images": noise}, Codec("webp", quality))["encoded"]) for quality in (1, 50, 100)]
    assert sizes == sorted(set(sizes))
    first, again = (encode({"images": noise}, Codec("webp", 50)) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in ("encoded", "offsets"))


def test_other_tensors_pass_and_raw_changes_nothing():
    stored = {"images": pictures(), "labels": torch.arange(3)}
    assert encode(stored, None) == stored
    assert decode(stored, None, count=3, height=SIZE, width=SIZE) == stored
    coded = encode(stored, Codec("png"))
    assert set(coded) == {"labels", "encoded", "offsets"}
    assert coded["offsets"].tolist()[0] == 0
    assert coded["offsets"].tolist()[-1] == len(coded["encoded"])
    with pytest.raises(UsageError, match="--codec png encodes images, and spectra are stored"):
        encode({"spectra": torch.zeros(1)}, Codec("png"))


@pytest.mark.parametrize(
    ("text", "found"),
    [("raw", None), ("png", Codec("png")), ("webp:1", Codec("webp", 1)), ("webp:100", Codec("webp", 100))],
)
def test_codecs_by_name(text, found):
    assert codec_named(text) == found
    assert found is None or str(found) == text


@pytest.mark.parametrize(
    "text", ["webp", "webp:", "webp:0", "webp:101", "webp:7.5", "webp:-3", "webp:x", "png:9", "raw:1"]
)
def test_qualities_that_are_none(text):
    with pytest.raises(UsageError, match="quality") as caught:
        codec_named(text)
    assert "--codec" in (caught.value.hint or "")


def test_a_name_that_is_none_is_answered_with_the_near_one():
    with pytest.raises(UnknownName) as caught:
        codec_named("webq:75")
    assert caught.value.hint == "did you mean 'webp'?"


def file_of(kind: str, size: int = SIZE, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pictures(1)[0].permute(1, 2, 0).numpy()).resize((size, size)).convert(mode)
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def texts() -> PngInfo:
    info = PngInfo()
    info.add_text("comment", "a" * 2_000_000, zip=True)
    return info


GOOD = file_of("PNG")
REFUSED = {
    "another format": ("png", file_of("WEBP"), "it is no PNG"),
    "a PNG as WebP": ("webp", GOOD, "it is no lossy WebP"),
    "a lossless WebP": ("webp", file_of("WEBP", lossless=True), "it is no lossy WebP"),
    "nothing": ("png", b"", None),
    "half": ("png", GOOD[: len(GOOD) // 2], "truncated"),
    "a flipped byte": ("png", GOOD[:60] + bytes([GOOD[60] ^ 1]) + GOOD[61:], "damaged"),
    "more behind it": ("png", GOOD + b"more", "the PNG holds more than an image"),
    "a text in it": ("png", file_of("PNG", pnginfo=texts()), "the PNG holds more than an image"),
    "half a WebP": ("webp", file_of("WEBP")[:-9], "the WebP does not end where it says"),
    "another size": ("png", file_of("PNG", size=SIZE * 2), "it is 48 x 48 in RGB, its manifest asks 24 x 24"),
    "a larger WebP": ("webp", file_of("WEBP", size=SIZE * 2), "it is 48 x 48 in RGB, its manifest asks 24 x 24"),
    "grey": ("png", file_of("PNG", mode="L"), "in L, its manifest asks"),
    "transparent": ("png", file_of("PNG", mode="RGBA"), "in RGBA, its manifest asks"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bytes_that_would_not_have_been_written_so(what):
    name, content, words = REFUSED[what]
    codec = Codec(name, 75 if name == "webp" else None)
    stored = {"encoded": torch.tensor(list(content), dtype=torch.uint8), "offsets": torch.tensor([0, len(content)])}
    with pytest.raises(ValueError, match=words or "does not cover"):
        decode(stored, codec, count=1, height=SIZE, width=SIZE)


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        (lambda o: o[:-1], "speaks of 2 images, its manifest of 3"),
        (lambda o: o + 1, "does not cover"),
        (lambda o: o.flip(0), "does not cover"),
        (lambda o: o[[0, 1, 1, 3]], "does not cover"),
        (lambda o: torch.cat([o[:-1], o[-1:] - 1]), "does not cover"),
        (lambda o: o * 2**40, "does not cover"),
    ],
)
def test_offsets_that_do_not_cover_the_bytes(offsets, words):
    stored = encode({"images": pictures()}, Codec("png"))
    with pytest.raises(ValueError, match=words):
        decode(stored | {"offsets": offsets(stored["offsets"])}, Codec("png"), count=3, height=SIZE, width=SIZE)
