"""What to say of folders that lie another way than <domain>/<class>/<image>: the trees found and wanted, and links.

Links leave the user's folders as they are; moving images up a level would throw splits together.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from dgdd_cli.data.entries import is_hidden, listed
from dgdd_cli.errors import DataError
from dgdd_cli.text import printable

WANTED = "<domain>/<class>/<image>"


def level_too_many(root: Path, folder: Path) -> DataError:
    """For a folder in the place of a class that holds folders: a split, or a folder `images`, between the levels."""
    domain = folder.parent
    inside = [entry.name for entry in _entries(folder) if entry.is_dir()]
    beside = [entry.name for entry in _entries(domain) if entry.is_dir()]
    each = "" if len(beside) < 2 else f", and {listed(beside)} each make a set of their own"
    return DataError(
        f"{folder} holds folders ({listed(inside)}) instead of images: a level too many{each}",
        hint="\n".join([*trees(root), links(root, folder.name)]),
    )


def class_level_missing(root: Path, domain: Path, files: Sequence[str]) -> DataError:
    """For images where class folders must be: <class>/<image>, of which nobody can say what the domains are."""
    return DataError(
        f"{domain} holds files directly ({listed(files)}): the class level is missing, or the domain level above it",
        hint="\n".join(
            [
                *trees(root),
                f"if {printable(domain.name)} is a class, this is a set of one domain: "
                f"mkdir SET && ln -s {_quoted(root)} SET/all, then dgdd distill ./SET --target none",
                f"if {printable(domain.name)} is no domain, move it out of {printable(str(root))}",
            ]
        ),
    )


def trees(root: Path) -> tuple[str, str]:
    """Two lines: a path that is there, and the form that is read."""
    return f"found:  {printable(_example(root))}", f"wanted: {root}/{WANTED}"


def _example(root: Path, depth: int = 6) -> str:
    """The deepest of the first paths below a folder, folders before files."""
    folder = root
    for _ in range(depth):
        inside = sorted(_entries(folder), key=lambda entry: (not entry.is_dir(), entry.name))
        if not inside:
            break
        folder = Path(inside[0].path)
        if not inside[0].is_dir():
            break
    return str(folder)


def links(root: Path, between: str) -> str:
    """The command that makes a set of links without the folder `between` domain and class."""
    names = [entry.name for entry in _entries(root) if (Path(entry.path) / between).is_dir()]
    loop = " ".join(shlex.quote(name) for name in names)
    link = f'ln -s {_quoted(root)}/"$d"/{shlex.quote(between)} SET/"$d"'
    return f"mkdir SET && for d in {loop}; do {link}; done, then give ./SET"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path.absolute()))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if not is_hidden(e.name)), key=lambda entry: entry.name)
    except OSError:
        return []
