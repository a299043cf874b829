from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from data_pictures import picture
from PIL import Image

from dgdd_cli.data import decode, opening
from dgdd_cli.data.decode import BROKEN, Sample, decode_image, decode_samples, in_parallel
from dgdd_cli.progress import silent


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def mean_colour(content: bytes) -> list[int]:
    return [round(float(channel.mean())) for channel in decode_image(content, 8)]


def test_every_size_becomes_the_same_square() -> None:
    for size in ((1, 1), (3, 300), (16, 16), (640, 40)):
        assert decode_image(encoded(picture(0, size)), 16).shape == (3, 16, 16)


def test_the_interpolation_is_antialiased() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    pixels = decode_image(encoded(Image.fromarray(stripes)), 16).astype(int)
    assert np.abs(pixels[:, :, 1:-1] - 128).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG"])
def test_formats(kind: str) -> None:
    red = Image.new("RGB", (20, 20), (250, 10, 10))
    assert np.abs(np.array(mean_colour(encoded(red, kind))) - [250, 10, 10]).max() <= 3


def test_grey_palette_bilevel_and_cmyk() -> None:
    assert mean_colour(encoded(Image.new("L", (9, 9), 77))) == [77, 77, 77]
    assert mean_colour(encoded(Image.new("RGB", (9, 9), (9, 200, 30)).convert("P"), "GIF"))[1] > 190
    assert mean_colour(encoded(Image.new("1", (9, 9), 1))) == [255, 255, 255]
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(np.array(mean_colour(encoded(cmyk, "JPEG"))) - [255, 0, 0]).max() <= 6


@pytest.mark.parametrize(
    "make", [lambda: Image.new("RGBA", (9, 9), (0, 0, 0, 0)), lambda: Image.new("LA", (9, 9), (0, 0))]
)
def test_transparent_pixels_become_white(make: Callable[[], Image.Image]) -> None:
    assert mean_colour(encoded(make())) == [255, 255, 255]


def test_a_transparent_palette_becomes_white() -> None:
    content = encoded(Image.new("P", (9, 9), 0), transparency=0)
    assert mean_colour(content) == [255, 255, 255]


def test_sixteen_bits_keep_their_range() -> None:
    half = Image.fromarray(np.full((9, 9), 32768, np.uint16))
    assert mean_colour(encoded(half)) == [128, 128, 128]
    floats = Image.fromarray(np.linspace(-3, 5, 81, dtype=np.float32).reshape(9, 9))
    pixels = decode_image(encoded(floats, "TIFF"), 9)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_floats_that_are_not_finite_are_refused() -> None:
    with pytest.raises(BROKEN):
        decode_image(encoded(Image.fromarray(np.array([[1.0, np.inf]], np.float32)), "TIFF"), 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    from PIL import ImageOps

    image = picture(3, (24, 16)).resize((240, 160), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    expected = decode_image(encoded(Image.fromarray(np.asarray(upright))), 16)
    assert np.abs(decode_image(content, 16).astype(int) - expected).max() <= 2


def test_broken_exif_does_not_lose_a_good_picture() -> None:
    content = encoded(Image.new("RGB", (9, 9), "red"), "JPEG", exif=b"Exif\x00\x00garbage that is no TIFF")
    assert decode_image(content, 8).shape == (3, 8, 8)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "LARGEST_IMAGE", 99)
    with pytest.raises(ValueError, match="10 x 10 pixels, of which at most 99 are read"):
        decode_image(encoded(picture(0, (10, 10))), 8)


def test_failures_come_in_order_and_leave_the_other_rows() -> None:
    good, bad = encoded(picture(0)), b"nothing"
    contents = [good if i % 50 else bad for i in range(200)]
    samples = [Sample(str(i), 0, lambda content=content: content) for i, content in enumerate(contents)]
    out = torch.zeros(200, 3, 8, 8, dtype=torch.uint8)
    failures = list(decode_samples(samples, out, "decoding", silent))
    assert [failure.index for failure in failures] == [0, 50, 100, 150]
    assert all(failure.reason == "not an image in a known format" for failure in failures)
    assert torch.equal(out[1:50], torch.tensor(decode_image(good, 8)).expand(49, 3, 8, 8))


def test_closing_early_stops_the_work() -> None:
    done: list[int] = []
    results = in_parallel(lambda i: done.append(i), 100_000, "counting", silent)
    next(results)
    results.close()
    assert len(done) < 100_000


@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory error when reading image file")], ids=repr)
def test_an_image_without_room_is_not_damaged(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Else --skip-corrupt would leave it out. Where there is room, it is the file that asks for an absurd amount."""

    def ask(image: Image.Image) -> None:
        raise error

    def short(shape: object, *rest: object) -> object:
        if isinstance(shape, int) and shape > 2**28:
            raise MemoryError
        return empty(shape, *rest)

    empty, content = np.empty, encoded(picture(0))
    sample, out = Sample("a.png", 0, lambda: content), torch.empty(1, 3, 8, 8, dtype=torch.uint8)
    monkeypatch.setattr(decode, "_rgb", ask)
    (failure,) = decode_samples([sample], out, "decoding", silent)
    assert failure.index == 0
    monkeypatch.setattr(np, "empty", short)
    with pytest.raises(type(error)):
        list(decode_samples([sample], out, "decoding", silent))
