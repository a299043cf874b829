"""What a verb says and where: the result on stdout, everything else on stderr; for people, as JSON, or bare."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.text import Text

from dgdd_cli.cli.progress import bar, plain_lines
from dgdd_cli.cli.text import cell, encodable, plain, plain_json
from dgdd_cli.progress import Progress, silent

__all__ = ["Mode", "Output", "ProgressStyle", "cell", "plain"]

Mode = Literal["human", "json", "quiet"]
ProgressStyle = Literal["auto", "bar", "plain", "none"]

_PIPE_WIDTH = 20_000  # columns; a pipe has no width, so a table there is as wide as its content, up to this


@dataclass(frozen=True)
class Output:
    """How one run of a verb speaks.

    `mode` decides the form of the result, `style` that of the progress (auto: a bar on a terminal, otherwise lines).
    """

    mode: Mode = "human"
    style: ProgressStyle = "auto"
    debug: bool = False
    _err: Console = field(default_factory=lambda: Console(stderr=True), repr=False, compare=False)

    def result(self, document: dict[str, Any], *, human: RenderableType, quiet: str) -> None:
        """Write the one result of the verb to stdout in the form that was asked for.

        `document` must be JSON without NaN; a `human` string is printed literally; `quiet` is the path or the number.
        """
        if self.mode == "json":
            text = plain_json(json.dumps(document, indent=2, ensure_ascii=not _unicode_stdout(), allow_nan=False))
        elif self.mode == "quiet":
            text = quiet
        else:
            text = plain(human) if isinstance(human, str) else _rendered(human)
        sys.stdout.write(encodable(text.rstrip("\n") + "\n", sys.stdout))
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A fact for the person who watches (stderr; not in quiet mode)."""
        if self.mode != "quiet":
            self._say("", "", text)

    def warn(self, text: str) -> None:
        """Something that may be wrong (stderr, in every mode)."""
        self._say("warning: ", "yellow", text)

    def hint(self, text: str) -> None:
        """Something to type next (stderr; not in quiet mode)."""
        if self.mode != "quiet":
            self._say("hint: ", "cyan", text)

    def error(self, message: str, hint: str | None = None) -> None:
        """What went wrong and what to type (stderr, in every mode)."""
        self._say("error: ", "bold red", message)
        for line in (hint or "").splitlines():
            self._say("hint: ", "cyan", line)

    @contextmanager
    def progress(self, *, leads: bool = True) -> Iterator[Progress]:
        """A callable that reports stages as they pass, while this output says what is logged under `dgdd`.

        Stages are a live bar, lines of text, or nothing in quiet mode. A rank that does not lead says nothing at all.
        """
        with _heard_by(_Messages(self) if leads else logging.NullHandler()):
            if not leads or self.mode == "quiet" or self.style == "none":
                yield silent
            elif self.style != "plain" and sys.stderr.isatty() and not self._err.is_dumb_terminal:
                with bar(self._err) as report:
                    yield report
            else:
                yield plain_lines(lambda line: self._say("", "", line))

    def _say(self, label: str, style: str, text: str) -> None:
        line = Text.assemble((label, style), encodable(plain(text), sys.stderr))
        self._err.print(line, soft_wrap=True, highlight=False)
        sys.stderr.flush()


@contextmanager
def _heard_by(handler: logging.Handler) -> Iterator[None]:
    """Send what is logged under `dgdd` to this handler alone; afterwards the logger is as it was."""
    log = logging.getLogger("dgdd")
    handlers, level, propagates = log.handlers, log.level, log.propagate
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers, log.propagate = handlers, propagates
        log.setLevel(level)


class _Messages(logging.Handler):
    """Says log records on an output: warnings and errors as warnings, the rest as notes."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.INFO)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        say = self._output.warn if record.levelno >= logging.WARNING else self._output.note
        say(record.getMessage())


def _rendered(human: RenderableType) -> str:
    console = Console()
    if not sys.stdout.isatty():
        console.width = _PIPE_WIDTH
        console.width = max(1, Measurement.get(console, console.options, human).maximum)
    with console.capture() as captured:
        console.print(human, highlight=False, emoji=False, crop=False)  # a word wider than the terminal stays whole
    text = captured.get()
    return text if sys.stdout.isatty() else "\n".join(line.rstrip() for line in text.splitlines())


def _unicode_stdout() -> bool:
    return (sys.stdout.encoding or "ascii").lower().startswith("utf")
