"""One picture of a whole bundle: a row per class, enlarged so that small images can be seen."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from dgdd_cli.bundle.atomic import write_atomically
from dgdd_cli.bundle.read import Bundle
from dgdd_cli.text import printable

CELL = 96  # pixels a side that a cell aims at
MOST_COLUMNS = 20
MOST_PIXELS = 40_000_000  # of the whole picture; beyond it fewer images per class are shown
GAP, MARGIN = 4, 16
TEXT, SMALL, TITLE = 14, 11, 18  # font sizes
LABEL_WIDTH = 180
INK, FAINT = (32, 33, 36), (96, 100, 106)
PAPER = (236, 237, 240)  # neither black nor white, so that the edge of every image shows

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class _Cell:
    """Side lengths in the picture, the integer factor of enlargement (1 when shrunk), images in a row."""

    width: int
    height: int
    factor: int
    columns: int


def gallery(bundle: Bundle) -> Image.Image:
    """The distilled images as an RGB picture: one row per class, the source domain in small print above each.

    Small images grow by an integer factor without smoothing, those of 192 px or more shrink. When a class has more
    than twenty images, or the picture would pass 40 megapixels, an even selection over the domains is shown and the
    head line says how many.
    """
    manifest = bundle.manifest
    rows = _rows(bundle)
    cell = _cell(manifest.images.width, manifest.images.height, manifest.images.ipc, len(rows))
    rows = [_selection(row, bundle.domains.tolist(), cell.columns) for row in rows]
    names = [*manifest.domains, "mixed"]
    captions = [[names[bundle.domains[index]] for index in row] for row in rows]
    alike = all(row == captions[0] for row in captions)

    text, small, title = (_font(size) for size in (TEXT, SMALL, TITLE))
    label_width = min(LABEL_WIDTH, max(_width(text, name) for name in manifest.classes)) + 12
    line = SMALL + 6
    step = cell.height + GAP + (0 if alike else line)
    head = MARGIN + TITLE + 8 + SMALL + 14
    top = head + (line if alike else 0)
    head_lines = _head(bundle, cell.columns)
    columns_width = cell.columns * (cell.width + GAP) - GAP
    width = max(label_width + columns_width, _width(title, head_lines[0]), _width(small, head_lines[1])) + 2 * MARGIN
    picture = Image.new("RGB", (width, top + len(rows) * step - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(picture)
    _say(draw, (MARGIN, MARGIN), head_lines[0], title, INK)
    _say(draw, (MARGIN, MARGIN + TITLE + 8), head_lines[1], small, FAINT)
    left = MARGIN + label_width
    for number, (row, words) in enumerate(zip(rows, captions, strict=True)):
        y = top + number * step + (0 if alike else line)
        name = _fitted(text, manifest.classes[number], label_width - 12)
        _say(draw, (MARGIN, y + (cell.height - TEXT) // 2), name, text, INK)
        for column, index in enumerate(row):
            x = left + column * (cell.width + GAP)
            pixels = bundle.images[index].permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
            picture.paste(_scaled(Image.fromarray(pixels), cell), (x, y))
            if number == 0 or not alike:
                _say(draw, (x, y - line + 2), _fitted(small, words[column], cell.width), small, FAINT)
    return picture


def save_png(image: Image.Image, path: Path, overwrite: bool = False) -> None:
    """Write `image` to `path` as PNG, atomically; raises as `write_atomically` does."""
    data = io.BytesIO()
    image.save(data, format="PNG")
    write_atomically(path, data.getvalue(), overwrite=overwrite)


def _rows(bundle: Bundle) -> list[list[int]]:
    """Indices of each class's images, by domain and then by index."""
    domains = bundle.domains.tolist()
    rows: list[list[int]] = [[] for _ in bundle.manifest.classes]
    for index, label in enumerate(bundle.labels.tolist()):
        rows[label].append(index)
    last = len(bundle.manifest.domains)
    return [sorted(row, key=lambda i: (domains[i] if domains[i] >= 0 else last, i)) for row in rows]


def _selection(row: Sequence[int], domains: Sequence[int], columns: int) -> list[int]:
    """At most `columns` of a row, dealt out to its domains in turn, in the row's order."""
    waiting: dict[int, list[int]] = {}
    for index in row:
        waiting.setdefault(domains[index], []).append(index)
    turns = [(turn, place, index) for place, queue in enumerate(waiting.values()) for turn, index in enumerate(queue)]
    kept = {index for _, _, index in sorted(turns)[:columns]}
    return [index for index in row if index in kept]


def _cell(width: int, height: int, ipc: int, rows: int) -> _Cell:
    side = max(width, height)
    factor = max(1, round(CELL / side))
    shrink = max(1, side // CELL)
    w, h = width * factor // shrink, height * factor // shrink
    affordable = MOST_PIXELS // (rows * (h + GAP) * (w + GAP))
    return _Cell(max(1, w), max(1, h), factor, max(1, min(ipc, MOST_COLUMNS, affordable)))


def _scaled(image: Image.Image, cell: _Cell) -> Image.Image:
    smooth = cell.width < image.width or cell.height < image.height
    return image.resize((cell.width, cell.height), Image.Resampling.BOX if smooth else Image.Resampling.NEAREST)


def _head(bundle: Bundle, columns: int) -> tuple[str, str]:
    m = bundle.manifest
    shown = f"{m.images.ipc} per class" if columns == m.images.ipc else f"{columns} of {m.images.ipc} per class shown"
    size = f"{m.images.width} x {m.images.height} px"
    target = f"target {m.target} (not used)" if m.target else "no target held out"
    return (
        printable(f"{m.source.dataset}, {m.method.name}", length=80),
        printable(f"{m.images.count} images, {shown}, {size}; sources {', '.join(m.domains)}; {target}; id {m.id}"),
    )


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _width(font: Font, text: str) -> int:
    return math.ceil(font.getlength(_drawable(font, text)))


def _fitted(font: Font, text: str, width: int) -> str:
    """`text`, cut so that it fits into `width` pixels."""
    if _width(font, text) <= width:
        return text
    kept = len(text)
    while kept > 1 and _width(font, text[:kept] + "..") > width:
        kept -= 1
    return text[:kept] + ".."


def _drawable(font: Font, text: str) -> str:
    # Pillow's bitmap font, used when it was built without FreeType, knows Latin-1 only and raises otherwise.
    return text if isinstance(font, ImageFont.FreeTypeFont) else text.encode("latin-1", "replace").decode("latin-1")


def _say(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, font: Font, ink: tuple[int, int, int]) -> None:
    draw.text(at, _drawable(font, text), font=font, fill=ink)
