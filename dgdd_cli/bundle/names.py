"""Names from a manifest as names of files and folders, and as values of a column."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

MAX_BYTES = 100  # of the 255 that most file systems allow; domain, class and index share a path
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}

# Words that loaders take for a split, alone or between -, _, ., spaces and digits; behind a "+" they do not.
SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation")
_SPLIT = re.compile(rf"(?:\A|[-._ ]|(?<=[0-9]))({'|'.join(SPLITS)})(?=[-._ 0-9]|\Z)", re.IGNORECASE)

# What readers of JSON lines take for a moment where a whole column is of this form, with any number of "+" in front.
_MOMENT = re.compile(r"\+*\d{4}-\d\d-\d\d([ T]\d\d(:?\d\d){0,2}(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII)


def class_folders(names: Sequence[str]) -> list[str]:
    """One folder name for each class such that sorting the folders keeps the classes' order.

    Loaders number classes by sorted folder. Where the names alone would not keep the order, every folder begins with
    its class's number: "0+Zebra", "1+apple".
    """
    folders = file_names(names)
    if all(_is_sorted(form, folders) for form in ("NFC", "NFD")):  # some file systems store names decomposed
        return folders
    digits = len(str(len(folders) - 1))
    return [f"{number:0{digits}d}+{folder.lstrip('+')}" for number, folder in enumerate(folders)]


def file_names(names: Sequence[str]) -> list[str]:
    """One distinct, harmless file name for each of `names`, in order.

    Letters, digits, "-", "_", "." and inner spaces stay; all else becomes "_". A word that loaders take for a split
    gets a "+" in front: "+train", "crash+test". No result is hidden, reserved, an option or a path, and none differs
    from another only by case: the later of two gets "-2", "-3" ...
    """
    taken: set[str] = set()
    found = []
    for name in names:
        stem = candidate = _harmless(name)
        number = 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{stem}-{number}"
        taken.add(candidate.casefold())
        found.append(candidate)
    return found


def column_value(name: str) -> str:
    """`name` as a value that stays text in metadata.jsonl: one that reads as a date gets a "+" in front.

    No two names become one: "+2024-05-01" is "++2024-05-01".
    """
    return f"+{name}" if _MOMENT.fullmatch(name) else name


def _harmless(name: str) -> str:
    text = "".join(c if c.isalnum() or c in "-_. " else "_" for c in unicodedata.normalize("NFC", name))
    text = text.encode()[:MAX_BYTES].decode(errors="ignore")
    text = text.lstrip("-_. ").rstrip(". ") or "unnamed"
    text = f"{text}-1" if text.partition(".")[0].casefold() in _RESERVED else text
    return _SPLIT.sub(r"+\1", text)


def _is_sorted(form: Literal["NFC", "NFD"], names: Sequence[str]) -> bool:
    stored = [unicodedata.normalize(form, name) for name in names]
    return stored == sorted(stored)
