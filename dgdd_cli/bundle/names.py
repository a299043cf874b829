"""Names from a manifest as names of files and folders."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

MAX_BYTES = 100  # of the 255 that most file systems allow; domain, class and index share a path
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def file_names(names: Sequence[str]) -> list[str]:
    """One distinct, harmless file name for each of `names`, in order.

    Letters, digits, "-", "_", "." and inner spaces stay; all else becomes "_". No result is hidden, reserved, an option
    or a path, and none differs from another only by case: the later of two gets "-2", "-3" ...
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


def _harmless(name: str) -> str:
    text = "".join(c if c.isalnum() or c in "-_. " else "_" for c in unicodedata.normalize("NFC", name))
    text = text.encode()[:MAX_BYTES].decode(errors="ignore")
    text = text.lstrip("-_. ").rstrip(". ") or "unnamed"
    return f"{text}-1" if text.partition(".")[0].casefold() in _RESERVED else text
