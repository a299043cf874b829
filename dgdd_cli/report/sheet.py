"""How the gallery's rows are laid out, so that a picture of any bundle can be opened and looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

CELL = 96  # pixels a side that a cell aims at
MOST_COLUMNS = 20  # images of one class
MOST_PIXELS = 40_000_000  # of the whole picture
MOST_SIDE = 16_000  # pixels; viewers and browsers refuse more
TALL = 2_000  # pixels; a higher picture is put side by side until it is no higher than wide
GAP, MARGIN, BETWEEN = 4, 16, 24  # between cells, around all, between bands
LINE = 17  # of small print above a row


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows of cells in `bands` side by side; sizes in pixels.

    `classes` of all classes get a row each with `columns` images, and a band holds `rows` of them, from top to bottom
    and then from left to right.
    """

    classes: int
    columns: int
    cell: tuple[int, int]  # width, height
    label: int  # width of the names at the left of each band
    head: int  # height of the lines above all
    least_row: int  # height that a name needs
    captions: bool = True  # a line of small print above every row, not only above the first of a band
    head_width: int = 0
    bands: int = 1

    @property
    def rows(self) -> int:
        return math.ceil(self.classes / self.bands)

    @property
    def step(self) -> int:
        return max(self.cell[1], self.least_row) + GAP + (LINE if self.captions else 0)

    @property
    def band(self) -> int:
        return self.label + self.columns * (self.cell[0] + GAP) - GAP

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        width = self.bands * (self.band + BETWEEN) - BETWEEN
        height = self.head + (0 if self.captions else LINE) + self.rows * self.step - GAP + MARGIN
        return max(width, self.head_width) + 2 * MARGIN, height

    @property
    def fits(self) -> bool:
        width, height = self.size
        return max(width, height) <= MOST_SIDE and width * height <= MOST_PIXELS

    def corner(self, number: int) -> tuple[int, int]:
        """The upper left corner of the row of the `number`-th class that is shown, its name included."""
        band, row = divmod(number, self.rows)
        return MARGIN + band * (self.band + BETWEEN), self.head + LINE + row * self.step


def arrange(classes: int, ipc: int, cell: tuple[int, int], *, label: int, head: int, least_row: int) -> Sheet:
    """The sheet that shows most: all images, or fewer of each class, or one each of fewer classes."""
    sheet = in_bands(Sheet(classes, min(ipc, MOST_COLUMNS), cell, label, head, least_row))
    while not sheet.fits and sheet.columns > 1:
        sheet = in_bands(replace(sheet, columns=sheet.columns - 1))
    while not sheet.fits and sheet.classes > 1:
        sheet = in_bands(replace(sheet, classes=sheet.classes * 9 // 10))
    return sheet


def in_bands(sheet: Sheet) -> Sheet:
    """The same in as few bands as keep the picture low: at most 2,000 pixels high, or no higher than wide."""
    for bands in range(1, sheet.classes + 1):
        sheet = replace(sheet, bands=bands)
        width, height = sheet.size
        if height <= max(TALL, width):
            break
    return sheet


def cell_of(width: int, height: int) -> tuple[int, int]:
    """Images of `width` x `height` grow by an integer factor to about 96 pixels, those of 192 or more shrink."""
    side = max(width, height)
    factor, shrink = max(1, round(CELL / side)), max(1, side // CELL)
    return max(1, width * factor // shrink), max(1, height * factor // shrink)
