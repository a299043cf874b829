"""The exception tree: each error says what, why and what to type, and knows its exit code.

DgddError                1    something failed while running
├── UsageError           2    an option, a name or a configuration is wrong
│   ├── UnknownName      2    a name that does not exist, with the near matches
│   └── NameTaken        2    something else lies where an output was to be written
├── DataError            3    a dataset, a bundle or a groups file is invalid
├── GateFailed           4    a gate (--min-accuracy, --max-gap, --verify) was not met
└── Interrupted        130    Ctrl-C; what was reached is kept in the checkpoint
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DgddError(Exception):
    """What went wrong (one line), with an optional `hint` that holds something to type."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DgddError):
    """An option, a name or a configuration is wrong."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that is not among the known ones; the near matches become the hint."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str | None = None) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)
        guess = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"known: {', '.join(names)}"
        super().__init__(f"unknown {kind} {name!r}", hint=f"{guess}\n{hint}" if hint else guess)


class NameTaken(UsageError):
    """Something else lies where an output was to be written."""


class DataError(DgddError):
    """A dataset, a bundle or a groups file is invalid."""

    exit_code = 3


class GateFailed(DgddError):
    """A measured figure did not reach the gate that was asked for."""

    exit_code = 4


class Interrupted(DgddError):
    """The user interrupted the run."""

    exit_code = 130
