"""Text in a picture: letters of any script that the font has, codes for those that it lacks."""

from __future__ import annotations

import math
import unicodedata

from PIL import ImageDraw, ImageFont

from dgdd_cli.data.fonts import font_folder

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font_of(size: int) -> Font:
    """DejaVu Sans (Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew, Arabic), or what Pillow has without FreeType."""
    try:
        return ImageFont.truetype(font_folder() / "DejaVuSans.ttf", size)
    except (OSError, ImportError):
        return ImageFont.load_default(size)


def drawable(font: Font, text: str) -> str:
    """`text` with every letter that `font` lacks as its code: Straße, but \\u732b for a Chinese cat."""
    if text.isascii():
        return text
    composed = (c for c in unicodedata.normalize("NFC", text) if not "\ufe00" <= c <= "\ufe0f")  # no variants in a font
    return "".join(c if c.isascii() or _has(font, c) else c.encode("unicode_escape").decode() for c in composed)


def width_of(font: Font, text: str) -> int:
    """The width of a drawable `text` in pixels."""
    return math.ceil(font.getlength(text))


def fitted(font: Font, text: str, width: int) -> str:
    """A drawable `text`, cut so that it fits into `width` pixels."""
    if width_of(font, text) <= width:
        return text
    kept = len(text)
    while kept > 1 and width_of(font, text[:kept] + "..") > width:
        kept -= 1
    return text[:kept] + ".."


def say(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, font: Font, ink: tuple[int, int, int]) -> None:
    """Write a drawable `text` with its upper left corner `at`."""
    draw.text(at, text, font=font, fill=ink)


def _has(font: Font, character: str) -> bool:
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow's bitmap font knows Latin-1 only and raises otherwise
        return ord(character) < 256
    mask, missing = font.getmask(character), font.getmask("\U0010ffff")  # a code that no font may fill
    return mask.size != missing.size or bytes(mask) != bytes(missing)
