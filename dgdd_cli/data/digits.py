"""The embedded set `digits`: four domains of ten digits, made on the spot from what scikit-learn and matplotlib ship.

`scan`, `blend` and `outline` come from scikit-learn's 1797 handwritten digits of 8 x 8 (Alpaydin and Kaynak, UCI 1998),
each from other writers; `typeset` from the fonts of matplotlib. Everything is drawn on one canvas and then resized, so
that all sizes show the same pictures. `blend` is the construction of MNIST-M (Ganin et al., JMLR 2016).

What makes the set a benchmark was tuned with a small ConvNet: a mild pose in `blend` and `outline`, and both polarities
in `outline` and `typeset`, need more than a few images to be learnt. Trained on all sources it reached 72 to 96 % on
each held-out domain, on ten random images per class 17 to 25 points less (16 px).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_digits, load_sample_images

from dgdd_cli.data.fonts import font_folder
from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.progress import Progress, silent

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]

DOMAINS = ("scan", "blend", "outline", "typeset")
SMALLEST, LARGEST = 8, 128

# The samples are ordered by writer; every writer begins with 0..9 three times over, and the cuts are such beginnings.
WRITERS = {"scan": slice(0, 646), "blend": slice(646, 1157), "outline": slice(1157, 1797)}

# Fonts with all ten digits as digits, by name: a font that matplotlib adds one day must not change the images.
FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmb10", "cmmi10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)

CANVAS = 64  # pixels; everything is drawn at this size
BODY = 56  # pixels of the canvas that a handwritten digit spans
SEED = 20260


def draw_digits(domains: Sequence[str], image_size: int, progress: Progress = silent) -> tuple[Bytes, Labels, Labels]:
    """The images uint8 (N, 3, H, W), labels and domain indices int64 (N) of the named domains, in that order.

    Raises UsageError for a size outside 8..128, DataError when matplotlib's fonts are incomplete.
    """
    if not SMALLEST <= image_size <= LARGEST:
        raise UsageError(
            f"digits are drawn at {SMALLEST} to {LARGEST} pixels, not {image_size}",
            hint="--image-size 32",
        )
    pictures: list[Image.Image] = []
    labels: list[Labels] = []
    index: list[Labels] = []
    for d, name in enumerate(domains):
        drawn, classes = _typeset() if name == "typeset" else _handwritten(name)
        pictures += [picture.resize((image_size, image_size), Image.Resampling.BILINEAR) for picture in drawn]
        labels.append(classes)
        index.append(np.full(len(classes), d, dtype=np.int64))
        progress("drawing digits", d + 1, len(domains))
    if not pictures:
        return np.empty((0, 3, image_size, image_size), np.uint8), np.empty(0, np.int64), np.empty(0, np.int64)
    pixels = np.stack([np.asarray(picture) for picture in pictures])  # (N, H, W, 3)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), np.concatenate(labels), np.concatenate(index)


def _handwritten(domain: str) -> tuple[list[Image.Image], Labels]:
    samples = load_digits()
    rows = WRITERS[domain]
    inks = [_enlarge(strokes) for strokes in samples.images[rows]]
    labels = samples.target[rows].astype(np.int64)
    if domain == "scan":
        return [ink.convert("RGB") for ink in inks], labels
    random = np.random.default_rng([SEED, DOMAINS.index(domain)])
    posed = [_pose(ink, random) for ink in inks]
    if domain == "outline":
        return [_outline(ink, random) for ink in posed], labels
    photographs = [Image.fromarray(photo) for photo in load_sample_images().images]
    return [_blend(ink, photographs, random) for ink in posed], labels


def _enlarge(strokes: NDArray[np.float64]) -> Image.Image:
    small = Image.fromarray((strokes * 255 / 16).round().astype(np.uint8))
    canvas = Image.new("L", (CANVAS, CANVAS))
    margin = (CANVAS - BODY) // 2
    canvas.paste(small.resize((BODY, BODY), Image.Resampling.BICUBIC), (margin, margin))
    return canvas


POSE_TURN = 10  # degrees either way
POSE_SHIFT = 4  # pixels of the canvas either way
POSE_SIZE = (50, 67)  # pixels that the whole canvas becomes


def _pose(ink: Image.Image, random: np.random.Generator) -> Image.Image:
    size = int(random.integers(*POSE_SIZE))
    shift = random.integers(-POSE_SHIFT, POSE_SHIFT + 1, 2)
    turn = int(random.integers(-POSE_TURN, POSE_TURN + 1))
    canvas = Image.new("L", ink.size)
    corner = ((CANVAS - size) // 2 + int(shift[0]), (CANVAS - size) // 2 + int(shift[1]))
    canvas.paste(ink.resize((size, size), Image.Resampling.BILINEAR), corner)
    return canvas.rotate(turn, Image.Resampling.BILINEAR)


OUTLINE_LEVEL = 110  # ink above this grey is inside
OUTLINE_WIDTH = 5  # pixels of the canvas, odd
INVERTED = 0.5  # share of the outlines and typeset digits that are dark on light


def _outline(ink: Image.Image, random: np.random.Generator) -> Image.Image:
    inside = ink.point(lambda grey: 255 if grey > OUTLINE_LEVEL else 0)
    grown = inside.filter(ImageFilter.MaxFilter(OUTLINE_WIDTH))
    edges = ImageChops.subtract(grown, inside)
    return (ImageChops.invert(edges) if random.random() < INVERTED else edges).convert("RGB")


BLEND_STRENGTH = (40, 91)  # brightness of the photograph in percent of what was taken
BLEND_PATCH = (64, 161)  # pixels of the photograph under one canvas


def _blend(ink: Image.Image, photographs: Sequence[Image.Image], random: np.random.Generator) -> Image.Image:
    photo = photographs[int(random.integers(len(photographs)))]
    side = int(random.integers(*BLEND_PATCH))
    left, top = int(random.integers(photo.width - side)), int(random.integers(photo.height - side))
    patch = photo.resize((CANVAS, CANVAS), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    strength = int(random.integers(*BLEND_STRENGTH))
    dimmed = patch.point(lambda level: level * strength // 100)
    return ImageChops.difference(dimmed, ink.convert("RGB"))


PER_CLASS = 60
TURN = 12  # degrees either way
SHIFT = 5  # pixels of the canvas either way
HEIGHT = (40, 57)  # pixels of the canvas
GROUND, INK = (0, 90), (170, 256)  # grey levels, drawn per channel


def _typeset() -> tuple[list[Image.Image], Labels]:
    random = np.random.default_rng([SEED, DOMAINS.index("typeset")])
    folder = font_folder()
    missing = [name for name in FONTS if not (folder / f"{name}.ttf").is_file()]
    if missing:
        raise DataError(
            f"the domain 'typeset' needs fonts that this matplotlib does not ship: {', '.join(missing)}",
            hint="pip install --force-reinstall matplotlib",
        )
    # Large glyphs, drawn once and scaled down, depend little on the hinting of the FreeType at hand.
    fonts = [
        ImageFont.truetype(folder / f"{name}.ttf", 4 * CANVAS, layout_engine=ImageFont.Layout.BASIC) for name in FONTS
    ]
    pictures, labels = [], []
    for digit in range(10):
        glyphs = [_glyph(font, digit) for font in fonts]
        for copy in range(PER_CLASS):
            pictures.append(_jitter(glyphs[copy % len(glyphs)], random))
            labels.append(digit)
    return pictures, np.array(labels, dtype=np.int64)


def _glyph(font: ImageFont.FreeTypeFont, digit: int) -> Image.Image:
    left, top, right, bottom = (int(edge) for edge in font.getbbox(str(digit)))
    glyph = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(glyph).text((-left, -top), str(digit), font=font, fill=255)
    return glyph


def _jitter(glyph: Image.Image, random: np.random.Generator) -> Image.Image:
    height = int(random.integers(*HEIGHT))
    width = max(1, round(glyph.width * height / glyph.height))
    shift = random.integers(-SHIFT, SHIFT + 1, 2)
    turn = int(random.integers(-TURN, TURN + 1))
    ground = tuple(int(level) for level in random.integers(*GROUND, 3))
    ink = tuple(int(level) for level in random.integers(*INK, 3))
    mask = Image.new("L", (CANVAS, CANVAS))
    corner = ((CANVAS - width) // 2 + int(shift[0]), (CANVAS - height) // 2 + int(shift[1]))
    mask.paste(glyph.resize((width, height), Image.Resampling.BILINEAR), corner)
    mask = mask.rotate(turn, Image.Resampling.BILINEAR)
    picture = Image.composite(Image.new("RGB", mask.size, ink), Image.new("RGB", mask.size, ground), mask)
    return ImageChops.invert(picture) if random.random() < INVERTED else picture
