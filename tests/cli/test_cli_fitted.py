"""A table on terminals of any width: every word stands there unbroken, and nothing is lost."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dgdd_cli.__main__ import run
from dgdd_cli.cli.fitted import Column, Fitted

TABLE = Fitted(
    [
        Column("training set"),
        Column("target"),
        Column(""),
        Column("accuracy %", figures=True),
        Column("of", figures=True),
    ],
    [
        [Text(t) for t in ("runs/a-long-name.safetensors", "sketch", "unseen domain", "78.7 ± 1.6", "100")],
        [Text(t) for t in ("random (10 per class; 写真, 絵)", "漫画 (noise)", "in-domain", "9.0", "")],
    ],
    caption="digits at 32 px; color_crop_cutout_scale_rotate, mean ± std",
)


class Terminal(io.StringIO):
    """A stdout that is a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def shown(table: Fitted, width: int) -> str:
    console = Console(width=width, no_color=True, file=None)
    with console.capture() as captured:
        console.print(table, highlight=False, crop=False)
    return captured.get()


def words(table: Fitted) -> set[str]:
    cells = [column.heading for column in table.columns] + [text.plain for row in table.rows for text in row]
    return {word for text in [*cells, table.caption] for word in text.split()}


@pytest.mark.parametrize("width", [1, 8, 20, 33, 40, 60, 79, 80, 81, 90, 100, 120, 200])
def test_no_word_is_broken_and_no_cell_lost(width: int) -> None:
    text = shown(TABLE, width)
    found = set(text.replace(",", " ").split())
    assert {word.rstrip(",") for word in words(TABLE)} <= found
    for line in text.splitlines():
        assert cell_len(line.rstrip()) <= width or len(line.split()) == 1, line


def test_figures_stay_on_one_line() -> None:
    for width in range(16, 130):
        assert "78.7 ± 1.6" in shown(TABLE, width)


def test_a_wide_terminal_gets_one_line_a_row() -> None:
    text = shown(TABLE, 130)
    assert sum("78.7" in line and "sketch" in line and "unseen domain" in line for line in text.splitlines()) == 1
    assert "┃ training set " in text


@pytest.mark.parametrize("columns", [130, 80, 40])
def test_the_results_on_a_terminal(shapes_folder, tmp_path, monkeypatch, capsys, columns):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    arguments = ["--target", "cyan", "--method", "random", "--ipc", "1", "--image-size", "8", "--out", "b.safetensors"]
    assert run(["distill", str(shapes_folder), *arguments, "-q"]) == 0
    quick = ["--epochs", "1", "--set", "width=8", "--repeats", "2", "--progress", "none"]
    more = ["--target", "cyan,blue", "--baseline", "random", "--corruptions", "noise", "--groups", "kmeans:2"]
    monkeypatch.setenv("COLUMNS", str(columns))

    def said() -> str:
        text, fresh = sys.stdout, Terminal()
        monkeypatch.setattr(sys, "stdout", fresh)
        return re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue()) if isinstance(text, Terminal) else ""

    said()
    assert run(["evaluate", "b.safetensors", "--dataset", str(shapes_folder), *quick, *more]) == 0
    text = said()
    assert [line for line in text.splitlines() if len(line) > columns] == []
    for word in ("training", "method", "accuracy", "balanced", "worst", "groups", "cluster-min", "ECE", "convnet"):
        assert word in text.split()
    for word in ("b.safetensors", "unseen", "in-domain", "(noise)", "±", "random", "amber,"):
        assert word in text
    assert text.count("b.safetensors") == 4  # two targets, each with its noisy copy
    arguments = ["cluster", str(shapes_folder), "--groups", "3", "--image-size", "8", "--out", "g.safetensors"]
    assert run(arguments) == 0
    assert {"group", "images", "frequent", "domain"} <= set(re.sub("[│┃]", " ", said()).split())
