"""A table that breaks no word and loses no column: on a terminal too narrow for it, one block of lines for each row.

rich's own tables do neither: a column below its width breaks words ("accur/acy %"), or with `no_wrap` cuts them off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

_INDENT = 2  # columns before a value that stands under its label


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; `figures` stand on the right and stay on one line. One without a heading belongs to that before it."""

    heading: str
    figures: bool = False


@dataclass(frozen=True, slots=True)
class Fitted:
    """Columns, rows of one cell a column, and a caption; how they are laid out depends on the width."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Text]]
    caption: str = ""

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, _table(self, None))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        widths = _widths(self, options.max_width)
        if widths is not None:
            yield _table(self, widths)
            return
        for row in self.rows:
            yield from map(_unbroken, _block(self.columns, row, options.max_width))
            yield Text("")
        for line in _wrapped(self.caption, options.max_width):
            yield _unbroken(line, style="table.caption")


def _table(fitted: Fitted, widths: Sequence[int] | None) -> Table:
    table = Table(caption=fitted.caption or None, caption_justify="left")
    for c, column in enumerate(fitted.columns):
        width = None if widths is None else widths[c]
        table.add_column(column.heading, justify="right" if column.figures else "left", width=width)
    for row in fitted.rows:
        table.add_row(*row)
    return table


def _widths(fitted: Fitted, width: int) -> list[int] | None:
    """A width for each column with which no word is broken, the widest need served first; None where there is none."""
    cells = [[row[c] for row in fitted.rows] for c in range(len(fitted.columns))]
    whole = [
        max([*(text.cell_len for text in column), cell_len(head.heading)])
        for head, column in zip(fitted.columns, cells, strict=True)
    ]
    widths = [
        max([_longest(head.heading), *(text.cell_len if head.figures else _longest(text.plain) for text in column)])
        for head, column in zip(fitted.columns, cells, strict=True)
    ]
    spare = width - sum(widths) - 3 * len(widths) - 1  # two of padding a column, and the rules between them
    if spare < 0:
        return None
    while spare and widths != whole:
        needs = [most - now for most, now in zip(whole, widths, strict=True)]
        widths[needs.index(max(needs))] += 1
        spare -= 1
    return widths


def _block(columns: Sequence[Column], row: Sequence[Text], width: int) -> Iterator[str]:
    labelled: list[tuple[Column, str]] = []
    for column, text in zip(columns, row, strict=True):
        if column.heading or not labelled:
            labelled.append((column, text.plain))
        else:
            before, value = labelled[-1]
            labelled[-1] = (before, f"{value}, {text.plain}")
    beside = max(cell_len(column.heading) for column, _ in labelled) + _INDENT
    for column, value in labelled:
        least = cell_len(value) if column.figures else _longest(value)
        if least <= width - beside:
            first, *others = _wrapped(value, width - beside) or [""]
            yield f"{column.heading.ljust(beside)}{first}"
            yield from (" " * beside + line for line in others)
        else:
            indent = _INDENT if least <= width - _INDENT else 0
            yield from _wrapped(column.heading, width)
            yield from (" " * indent + line for line in _wrapped(value, width - indent))


def _unbroken(line: str, style: str = "") -> Text:
    return Text(line, style=style, no_wrap=True, overflow="ignore")


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _longest(text: str) -> int:
    return max((cell_len(word) for word in text.split()), default=0)
