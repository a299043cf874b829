"""What text from outside may hold, and how it is shown; nothing here trusts its argument."""

from __future__ import annotations

import json
import os
import shlex
import unicodedata
from typing import Any

NAME_LENGTH = 255
TEXT_LENGTH = 4000
JSON_DEPTH = 16

# These reorder what a reader sees; no class or domain name needs them.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def _is_unprintable(character: str) -> bool:
    return character in _BIDI or unicodedata.category(character) in _UNPRINTABLE


def check_name(name: str) -> str:
    """`name` itself; raises ValueError when it is blank, over 255 characters or holds control characters."""
    if not name.strip():
        raise ValueError("is blank")
    if len(name) > NAME_LENGTH:
        raise ValueError(f"is {plural(len(name), 'character')} long (at most {NAME_LENGTH})")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError("is not UTF-8, or is read with another encoding: PYTHONUTF8=1 reads names as UTF-8")
    if any(map(_is_unprintable, name)):
        raise ValueError(f"holds control characters: {printable(name)}")
    return name


def check_text(text: str) -> str:
    """`text` itself, which unlike a name may be empty and span lines; raises ValueError as `check_name` does."""
    if len(text) > TEXT_LENGTH:
        raise ValueError(f"is {plural(len(text), 'character')} long (at most {TEXT_LENGTH})")
    if any(_is_unprintable(c) for c in text if c not in "\n\t"):
        raise ValueError(f"holds control characters: {printable(text)}")
    return text


def printable(text: str, *, length: int = 200) -> str:
    """`text` on one line, all that is not printable written as escapes, cut to `length` characters."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:length])
    return shown if max(len(shown), len(text)) <= length else shown[: length - 1] + "…"


def plural(count: int, one: str, several: str | None = None) -> str:
    """`count` with its noun: "1 image", "2,000 images"; `several` where an s does not make the plural."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def typeable(path: str | os.PathLike[str]) -> str:
    """A path as it is typed in a shell, on one line: quoted where need be, `./` before what looks like an option."""
    text = os.fspath(path)
    text = f"./{text}" if text.startswith("-") else text
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_in_ansi_quotes, text)) + "'"


def _in_ansi_quotes(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    return character if character.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN; non-ASCII characters as they are, so one value has one text.

    Raises ValueError for NaN, infinities and text that UTF-8 cannot hold, RecursionError for endless nesting.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    text.encode()
    return text


def strict_json(text: str) -> Any:
    """The value of a JSON text without duplicate keys, NaN, or nesting deeper than 16; raises ValueError."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(value, JSON_DEPTH)
    canonical_json(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {printable(key)!r} occurs twice")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _check_depth(value: Any, left: int) -> None:
    if left < 0:
        raise ValueError(f"nested too deeply (at most {JSON_DEPTH} levels)")
    if isinstance(value, dict):
        for child in value.values():
            _check_depth(child, left - 1)
    elif isinstance(value, list):
        for child in value:
            _check_depth(child, left - 1)
