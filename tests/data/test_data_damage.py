from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from data_pictures import draw_tree
from PIL import Image, features

from dgdd_cli.data.damage import check_jpeg, png_chunks
from dgdd_cli.data.decode import BROKEN, decode_image
from dgdd_cli.data.load import load_dataset
from dgdd_cli.errors import DataError
from dgdd_cli.storage.cache import Cache

SIDE = 160


def scene() -> Image.Image:
    """A noisy gradient: nothing in it is flat."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] * (255 / SIDE)
    noise = np.random.default_rng(0).integers(-20, 20, (SIDE, SIDE, 3))
    return Image.fromarray((np.stack([x, y, (x + y) / 2], 2) + noise).clip(0, 255).astype(np.uint8))


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or scene()).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


JPEGS = {
    "plain": encoded("JPEG"),
    "optimised": encoded("JPEG", optimize=True),
    "progressive": encoded("JPEG", progressive=True),
    "restarts": encoded("JPEG", restart_marker_rows=1),
    "grey": encoded("JPEG", scene().convert("L")),
    "cmyk": encoded("JPEG", scene().convert("CMYK")),
}


@pytest.mark.parametrize("place", np.linspace(0.1, 0.95, 8))
@pytest.mark.parametrize("damage", ["flip", "hole", "noise", "gone"])
def test_any_damage_of_a_png_is_noticed(place: float, damage: str) -> None:
    content = encoded("PNG")
    decode_image(content, 16)
    at = int(len(content) * place)
    part = {
        "flip": bytes([content[at] ^ 1]),
        "hole": bytes(2048),
        "noise": np.random.default_rng(1).bytes(2048),
        "gone": b"",
    }[damage]
    after = content[at + (2048 if damage == "gone" else len(part)) :]
    with pytest.raises(BROKEN, match=r"damaged: the checksum of its chunk|truncated"):
        decode_image(content[:at] + part + after, 16)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("place", [0.4, 0.6, 0.8])
def test_a_jpeg_with_a_hole_noise_or_an_end_too_early_is_noticed(kind: str, place: float) -> None:
    content = JPEGS[kind]
    decode_image(content, 16)
    at = int(len(content) * place)
    noise = np.random.default_rng(2).bytes(1024)
    for damaged in (content[:at] + noise + content[at + 1024 :], content[:at], content[:at] + bytes(len(content) - at)):
        with pytest.raises(BROKEN, match=r"damaged|truncated"):
            decode_image(damaged, 16)
    if kind != "progressive":  # there a run of zeros may be a flat area, by its tables
        with pytest.raises(BROKEN, match=r"a hole of zeros|out of order"):
            decode_image(content[:at] + bytes(512) + content[at + 512 :], 16)


def test_restart_markers_tell_of_bytes_that_went_missing() -> None:
    content = JPEGS["restarts"]
    with pytest.raises(BROKEN, match="a restart marker out of order"):
        decode_image(content[: len(content) // 2] + content[len(content) // 2 + 1024 :], 16)


@pytest.mark.parametrize("quality", [10, 50, 75, 95, 100])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("flat", ["white", "black", "scene", "half"])
def test_whole_jpegs_are_taken_flat_ones_too(quality: int, options: dict[str, object], flat: str) -> None:
    image = scene() if flat in ("scene", "half") else Image.new("RGB", (700, 700), flat)
    if flat == "half":
        image = Image.new("L", (640, 640), 255)
        image.paste(scene().convert("L"), (0, 0))
    check_jpeg(encoded("JPEG", image, quality=quality, **options))


def test_what_follows_the_end_of_a_picture_is_no_damage() -> None:
    for content in (encoded("PNG"), JPEGS["plain"], JPEGS["progressive"]):
        assert (decode_image(content + b"\xff\xd8 trailer" + bytes(9000), 16) == decode_image(content, 16)).all()


def test_a_thumbnail_inside_a_jpeg_is_not_its_end() -> None:
    thumbnail = encoded("JPEG", scene().resize((32, 32)))
    content = JPEGS["plain"]
    inside = content[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail + content[2:]
    check_jpeg(inside)


NOTICED = {  # damage of the compressed data that the decoders of these formats tell of
    "GIF": ("hole", "noise", "cut"),
    "TIFF lzw": ("hole", "noise", "cut"),
    "TIFF deflate": ("noise", "cut"),
    "TIFF": ("cut",),
    "WEBP": ("cut",),
    "JPEG2000": ("cut",),
    "BMP": ("cut",),
    "AVIF": ("cut",),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, which the reader of a dataset silences
@pytest.mark.parametrize("name", NOTICED)
def test_every_damage_is_noticed_or_gives_an_image_and_nothing_else_is_raised(name: str) -> None:
    """What damage.py says of the formats without checksums."""
    kind, _, compression = name.partition(" ")
    options = {"compression": {"lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}[compression]} if compression else {}
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    whole = encoded(kind, scene().convert("P") if kind == "GIF" else None, **options)
    random = np.random.default_rng(0)
    for damage in ("hole", "noise", "cut"):
        noticed = 0
        for _ in range(20):
            content = bytearray(whole)
            at = int(random.integers(len(whole) // 5, len(whole) * 4 // 5))
            if damage == "hole":
                content[at : at + 64] = bytes(64)
            elif damage == "noise":
                for place in random.integers(200, len(whole), max(1, len(whole) // 100)):
                    content[place] = random.integers(256)
            else:
                del content[at:]
            try:
                decode_image(bytes(content), 16)
            except BROKEN:
                noticed += 1
        assert noticed >= 18 or damage not in NOTICED[name]


def test_the_chunks_of_a_png_are_walked_to_the_end() -> None:
    assert [kind for kind, _, _ in png_chunks(encoded("PNG", scene().resize((8, 8))))] == [b"IHDR", b"IDAT", b"IEND"]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


LARGE = zlib.compress(bytes(3 * 2**20))
TEXTS = {
    "zTXt": chunk(b"zTXt", b"history\0\0" + LARGE),
    "iTXt": chunk(b"iTXt", b"history\0\1\0\0\0" + LARGE),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
    "iCCP": chunk(b"iCCP", b"camera\0\0" + LARGE),
    "tEXt": chunk(b"tEXt", b"history\0" + bytes(3 * 2**20)),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("late", [False, True])
def test_a_large_text_or_profile_does_not_make_a_png_corrupt(kind: str, late: bool) -> None:
    content = encoded("PNG")
    at = len(content) - 12 if late else 33  # before IEND, or after IHDR
    assert (decode_image(content[:at] + TEXTS[kind] + content[at:], 16) == decode_image(content, 16)).all()


def test_an_orientation_in_xmp_still_counts() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="3"/></x:xmpmeta>'
    content = encoded("PNG")
    turned = decode_image(content, 16)[:, ::-1, ::-1]
    for text in (b"\0\0\0\0" + xmp, b"\1\0\0\0" + zlib.compress(xmp)):
        inside = content[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0" + text) + content[33:]
        assert (decode_image(inside, 16) == turned).all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_tree(tmp_path / "mine", {"a": ["x", "y"], "b": ["x", "y"]})


def test_a_damaged_image_is_named_and_can_be_left_out(folder: Path, tmp_path: Path) -> None:
    content = bytearray(encoded("PNG"))
    content[len(content) // 2] ^= 255
    (folder / "a" / "x" / "2.png").write_bytes(content)
    for _ in range(2):  # decoded, then from the cache
        with pytest.raises(DataError, match=r"a/x/2\.png cannot be read: damaged: the checksum of its chunk IDAT"):
            load_dataset(folder, image_size=8, cache=Cache(tmp_path / "cache"))
    dataset = load_dataset(folder, image_size=8, skip_corrupt=True, cache=Cache(tmp_path / "cache"))
    assert (len(dataset), dataset.skipped) == (8, 1)


def test_damaged_exif_says_nothing_of_its_own(folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03\0\0"  # five entries are announced, less than one is there
    whole = JPEGS["plain"]
    content = whole[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + whole[2:]
    (folder / "a" / "x" / "2.jpg").write_bytes(content)
    assert len(load_dataset(folder, image_size=8)) == 9
    assert [str(warning.message) for warning in recwarn] == []
