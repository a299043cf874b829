"""stdout holds the result and nothing else; what stands on stderr depends on mode and terminal."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping

import pytest
from rich.console import Console
from rich.table import Table

from dgdd_cli.cli.output import Output, cell, plain
from dgdd_cli.cli.progress import bar, plain_lines
from dgdd_cli.cli.text import plain_json

DOCUMENT = {"schema": "dgdd.test/1", "name": "Zoë"}
HOSTILE = "\x1b[2Jevil\x07 [bold]x[/bold] \u202e"


class Stream(io.StringIO):
    """A text stream with an encoding, a terminal or not."""

    def __init__(self, encoding: str = "utf-8", terminal: bool = False) -> None:
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        text.encode(self._encoding)
        return super().write(text)


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def said(output: Output) -> None:
    output.note("a note")
    output.warn("a warning")
    output.hint("a hint")


@pytest.mark.parametrize(
    ("mode", "stdout", "silent"),
    [("human", "for people\n", False), ("quiet", "out.bin\n", True), ("json", None, False)],
)
def test_each_mode(mode: str, stdout: str | None, silent: bool, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(mode=mode)  # type: ignore[arg-type]
    output.result(DOCUMENT, human="for people", quiet="out.bin")
    said(output)
    with output.progress() as report:
        report("stage", 1, 1)
    found = capsys.readouterr()
    if stdout is None:
        assert json.loads(found.out) == DOCUMENT
    else:
        assert found.out == stdout
    assert "warning: a warning\n" in found.err
    assert ("a note" in found.err, "hint: a hint" in found.err, "100 %" in found.err) == (not silent,) * 3


def test_a_human_string_is_printed_literally(capsys: pytest.CaptureFixture[str]) -> None:
    Output().result({}, human="[red]1.5[/red] :smile: " + 200 * "x", quiet="")
    assert capsys.readouterr().out == "[red]1.5[/red] :smile: " + 200 * "x" + "\n"


def test_a_table_in_a_pipe_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    for heading in ("name", "other"):
        table.add_column(heading)
    table.add_row("a" * 150, "b" * 150)
    Output().result({}, human=table, quiet="")
    out = capsys.readouterr().out
    assert "a" * 150 in out
    assert "b" * 150 in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name")
    table.add_row(cell(HOSTILE))
    output = Output()
    output.result({}, human=table, quiet="")
    output.result({}, human=HOSTILE, quiet="")
    output.warn(HOSTILE)
    output.error(HOSTILE, hint=HOSTILE)
    found = capsys.readouterr()
    for text in (found.out, found.err):
        assert "\\x1b[2Jevil\\x07 [bold]x[/bold] \\u202e" in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_plain_keeps_what_is_text() -> None:
    assert plain("Zoë 画 a\tb\nc") == "Zoë 画 a\tb\nc"
    assert plain("\udc80") == "\\udc80"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_encoding_takes_the_result(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Stream(encoding), Stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    table = Table("画")
    table.add_row("1 ± 2 → 3")
    Output().result({}, human=table, quiet="")
    Output(mode="json").result(DOCUMENT, human="", quiet="")
    Output(mode="quiet").result({}, human="", quiet="/tmp/画")
    Output().warn("画 ± 1")
    if encoding == "ascii":
        assert "1 +/- 2 -> 3" in out.getvalue()
        assert "/tmp/\\u753b" in out.getvalue()
        assert '"Zo\\u00eb"' in out.getvalue()
        assert "warning: \\u753b +/- 1" in err.getvalue()
    if encoding == "utf-8":
        assert "1 ± 2 → 3" in out.getvalue()
        assert '"Zoë"' in out.getvalue()


def test_nan_is_not_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Output(mode="json").result({"value": float("nan")}, human="", quiet="")


@pytest.mark.parametrize(
    ("variable", "coloured"), [({"NO_COLOR": "1"}, False), ({"FORCE_COLOR": "1"}, True), ({"TERM": "dumb"}, False)]
)
def test_colour_follows_the_environment(
    variable: dict[str, str],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    stream = Stream(terminal="FORCE_COLOR" not in variable)
    monkeypatch.setattr(sys, "stderr", stream)
    Output().warn("careful")
    assert ("\x1b[33m" in stream.getvalue()) == coloured
    assert "careful" in stream.getvalue()


def figures(value: float) -> Mapping[str, float]:
    return {"loss": value}


def test_plain_lines_every_tenth() -> None:
    clock, lines = Clock(), []
    report = plain_lines(lines.append, clock)
    for done in range(1001):
        report("distilling", done, 1000, figures(1 / (done + 1)))
        clock.now += 0.5
    assert len(lines) == 10
    assert lines[0] == "distilling   10 %  100/1000  2 it/s  ETA 0:07:30  loss 0.009901"
    assert lines[-1] == "distilling  100 %  1000/1000  2 it/s  loss 0.000999"


def test_plain_lines_begin_afresh_with_each_stage() -> None:
    lines: list[str] = []
    report = plain_lines(lines.append, Clock())
    for stage in ("reading", "training"):
        for done in (1, 2, 3):
            report(stage, done, 3)
    assert [line.split()[0] for line in lines] == ["reading"] * 3 + ["training"] * 3
    assert lines[0] == "reading   33 %  1/3"
    report("nothing", 0, 0)
    assert lines[-1] == "nothing  100 %  0/0"


def test_each_line_is_on_stderr_before_the_next_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().progress() as report:
        report("stage", 1, 2)
        found = capsys.readouterr()
        assert "50 %" in found.err
        assert found.out == ""


def test_a_slow_start_does_not_spoil_the_forecast() -> None:
    clock, lines = Clock(), []
    report = plain_lines(lines.append, clock)
    report("distilling", 0, 100)
    clock.now = 60  # compilation
    report("distilling", 1, 100)
    for done in range(2, 72):
        clock.now += 1
        report("distilling", done, 100)
    assert lines[-1] == "distilling   70 %  70/100  1 it/s  ETA 0:00:30"


def test_a_resumed_stage_does_not_look_fast() -> None:
    clock, lines = Clock(), []
    report = plain_lines(lines.append, clock)
    for done in (900, 1000, 1100):
        report("distilling", done, 10_000)
        clock.now += 100
    assert lines == ["distilling   10 %  1000/10000"]
    for done in range(1200, 2001, 100):
        report("distilling", done, 10_000)
        clock.now += 100
    assert lines[-1] == "distilling   20 %  2000/10000  1 it/s  ETA 2:13:20"


def test_the_bar_shows_one_stage_at_a_time() -> None:
    stream = Stream(terminal=True)
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)
    clock = Clock()
    with bar(console, clock) as report:
        for stage in ("reading", "training [x]"):
            for done in range(5):
                report(stage, done, 4, figures(2.5))
                clock.now += 2
    last = stream.getvalue().split("\r")[-1].split("\n")[0]
    assert "training [x]" in last
    assert "reading" not in last
    assert "4/4 0.5 it/s  loss 2.5" in last


@pytest.mark.parametrize(
    ("style", "terminal", "term", "expected"),
    [
        ("auto", True, "xterm", "bar"),
        ("auto", True, "dumb", "lines"),
        ("auto", False, "xterm", "lines"),
        ("bar", False, "xterm", "lines"),
        ("plain", True, "xterm", "lines"),
        ("none", True, "xterm", "nothing"),
    ],
)
def test_which_progress_is_shown(
    style: str, terminal: bool, term: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Output(style=style).progress() as report:  # type: ignore[arg-type]
        report("stage", 1, 2)
    shown = stream.getvalue()
    assert ("\x1b[?25l" in shown) == (expected == "bar")
    assert ("50 %" in shown) == (expected == "lines")
    assert (shown == "") == (expected == "nothing")


def test_json_keeps_its_values_when_it_is_made_plain() -> None:
    texts = ["\x7f", "\x9b", "\u202e", "\u2028", "\U000e0041", "\udcff", "é 猫 🦊", '"\\\n\t']
    for text in texts:
        shown = plain_json(json.dumps(text, ensure_ascii=False))
        assert shown.isprintable()
        assert json.loads(shown) == text
