"""One picture of a whole bundle: a row per class, enlarged so that small images can be seen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw

from dgdd_cli.bundle.manifest import Manifest
from dgdd_cli.bundle.read import Bundle, Labelled
from dgdd_cli.errors import UsageError
from dgdd_cli.report.lettering import Font, drawable, fitted, font_of, say, width_of
from dgdd_cli.report.sheet import GAP, LINE, MARGIN, Sheet, arrange, cell_of, in_bands
from dgdd_cli.storage.atomic import write_atomically
from dgdd_cli.synthesis.labels import Labels
from dgdd_cli.text import plural, printable

TEXT, SMALL, TITLE = 14, 11, 18  # font sizes
HEAD = MARGIN + TITLE + 8 + SMALL + 14
LABEL_WIDTH = 180
INK, FAINT = (32, 33, 36), (96, 100, 106)
PAPER = (236, 237, 240)  # neither black nor white, so that the edge of every image shows


def gallery(bundle: Bundle, *, stored: bool = False) -> Image.Image:
    """The distilled images, decoded, as an RGB picture: one row per class, the source domain in small print above each.

    With `stored` the images as they are stored, tiles side by side. Raises UsageError where none are stored.

    Small images grow by an integer factor without smoothing, those of 192 px or more shrink. Many classes stand side by
    side in bands. When a class has more than twenty images, or the picture would pass 40 megapixels or 16,000 pixels a
    side, an even selection over the domains, then over the classes, is shown and the head line says how many.
    Letters that the font lacks are written as codes, behind the number of the class.
    """
    manifest, labelled = bundle.manifest, _stored(bundle) if stored else bundle.labelled()
    text, small, title = (font_of(size) for size in (TEXT, SMALL, TITLE))
    labels = [_label(text, number, name) for number, name in enumerate(manifest.classes)]
    label_width = min(LABEL_WIDTH, max(width_of(text, label) for label in labels))
    sheet = arrange(
        len(labels),
        len(labelled.images) // len(manifest.classes),
        cell_of(manifest.images.width, manifest.images.height),
        label=label_width + 12,
        head=HEAD,
        least_row=TEXT + 2,
    )
    numbers = [place * len(labels) // sheet.classes for place in range(sheet.classes)]
    rows, captions = _rows(labelled, manifest, numbers, sheet.columns)
    if all(row == captions[0] for row in captions):
        sheet = in_bands(replace(sheet, captions=False))
    headings = [drawable(title, _title(bundle)), drawable(small, _facts(bundle, sheet, len(labelled.images)))]
    sheet = replace(sheet, head_width=max(width_of(title, headings[0]), width_of(small, headings[1])))
    picture = Image.new("RGB", sheet.size, PAPER)
    draw = ImageDraw.Draw(picture)
    say(draw, (MARGIN, MARGIN), headings[0], title, INK)
    say(draw, (MARGIN, MARGIN + TITLE + 8), headings[1], small, FAINT)
    domains = [drawable(small, name) for name in (*manifest.domains, "mixed")]
    for place, (number, row) in enumerate(zip(numbers, rows, strict=True)):
        left, y = sheet.corner(place)
        say(draw, (left, y + max(0, sheet.cell[1] - TEXT) // 2), fitted(text, labels[number], label_width), text, INK)
        for column, index in enumerate(row):
            x = left + sheet.label + column * (sheet.cell[0] + GAP)
            pixels = labelled.images[index].permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
            picture.paste(_scaled(Image.fromarray(pixels), sheet.cell), (x, y))
            if sheet.captions or place % sheet.rows == 0:
                name = domains[captions[place][column]]
                say(draw, (x, y - LINE + 2), fitted(small, name, sheet.cell[0]), small, FAINT)
    return picture


def _stored(bundle: Bundle) -> Labelled:
    images = bundle.stored_images()
    if images is None:
        raise UsageError(
            f"{bundle.parameterisation.name} stores no images",
            hint="--gallery without --stored shows what they decode to",
        )
    return Labelled(images, Labels("hard", bundle.labels), bundle.domains)


def save_png(image: Image.Image, path: Path, overwrite: bool = False) -> None:
    """Write `image` to `path` as PNG, atomically; raises as `write_atomically` does."""
    data = io.BytesIO()
    image.save(data, format="PNG")
    write_atomically(path, data.getvalue(), overwrite=overwrite)


def _rows(
    labelled: Labelled, manifest: Manifest, numbers: Sequence[int], columns: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Indices of at most `columns` images of each class in `numbers`, by domain and then by index; their domains."""
    domains = labelled.domains.tolist()
    by_class: list[list[int]] = [[] for _ in manifest.classes]
    for index, label in enumerate(labelled.labels.classes.tolist()):
        by_class[label].append(index)
    last = len(manifest.domains)
    ordered = [sorted(by_class[n], key=lambda i: (domains[i] if domains[i] >= 0 else last, i)) for n in numbers]
    rows = [_selection(row, domains, columns) for row in ordered]
    return rows, [[domains[index] for index in row] for row in rows]


def _selection(row: Sequence[int], domains: Sequence[int], columns: int) -> list[int]:
    """At most `columns` of a row, dealt out to its domains in turn, in the row's order."""
    waiting: dict[int, list[int]] = {}
    for index in row:
        waiting.setdefault(domains[index], []).append(index)
    turns = [(turn, place, index) for place, queue in enumerate(waiting.values()) for turn, index in enumerate(queue)]
    kept = {index for _, _, index in sorted(turns)[:columns]}
    return [index for index in row if index in kept]


def _scaled(image: Image.Image, cell: tuple[int, int]) -> Image.Image:
    smooth = cell[0] < image.width or cell[1] < image.height
    return image.resize(cell, Image.Resampling.BOX if smooth else Image.Resampling.NEAREST)


def _label(font: Font, number: int, name: str) -> str:
    shown = drawable(font, name)
    return f"{number}: {shown}" if "\\" in shown and "\\" not in name else shown


def _title(bundle: Bundle) -> str:
    return printable(f"{bundle.manifest.source.dataset}, {bundle.manifest.method.name}", length=80)


def _facts(bundle: Bundle, sheet: Sheet, count: int) -> str:
    m, per_class = bundle.manifest, count // len(bundle.manifest.classes)
    shown = f"{per_class} per class"
    if sheet.columns < per_class:
        shown = f"{sheet.columns} of {per_class} per class shown"
    if sheet.classes < len(m.classes):
        shown += f", {sheet.classes:,} of {len(m.classes):,} classes shown"
    size = f"{m.images.width} x {m.images.height} px"
    stored = f" of {m.images.count:,} stored" if m.images.count < count else ""
    stored = " as stored" if count < len(bundle.images) else stored
    target = f"target {m.target} (not used)" if m.target else "no target held out"
    return printable(
        f"{plural(count, 'image')}{stored}, {shown}, {size}; sources {', '.join(m.domains)}; {target}; id {m.id}"
    )
