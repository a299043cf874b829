"""Text from outside, made safe: for a terminal that obeys control characters, for a stream that knows few letters."""

from __future__ import annotations

from typing import TextIO

from rich.text import Text

_LOOK_ALIKES = str.maketrans({"±": "+/-", "–": "-", "—": "-", "…": "...", "→": "->", "×": "x", "≥": ">=", "≤": "<="})


def plain(text: str) -> str:
    """The text with every control and direction-changing character spelled out, so that it cannot act on a terminal."""
    return "".join(ch if ch in "\n\t" or ch.isprintable() else ch.encode("unicode_escape").decode() for ch in text)


def plain_json(text: str) -> str:
    """The same for a JSON text, whose strings keep their values: what does not print is written as \\u escapes."""
    return "".join(ch if ch == "\n" or ch.isprintable() else _json_escape(ch) for ch in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def cell(text: object, style: str = "") -> Text:
    """A table cell from outside text: no markup is read in it, no control character survives."""
    return Text(plain(str(text)), style=style)


def encodable(text: str, stream: TextIO) -> str:
    """The text as far as `stream` can write it; the rest as ASCII look-alikes or backslash escapes."""
    encoding = stream.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_LOOK_ALIKES).encode(encoding, "backslashreplace").decode(encoding)
    return text
