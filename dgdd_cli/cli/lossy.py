"""A log that cannot be written must not end the work that it tells of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, TextIO


class Lossy:
    """A text stream that drops what the one behind it does not take: its reader is gone, or its disk is full."""

    def __init__(self, behind: TextIO) -> None:
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._behind.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._behind.flush()
