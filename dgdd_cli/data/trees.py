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
from dgdd_cli.text import printable, typeable

WANTED = "<domain>/<class>/<image>"
SPLITS = ("train", "training", "val", "valid", "validation", "crossval", "dev", "test", "testing", "full")


def level_too_many(root: Path, folder: Path) -> DataError:
    """For a folder in the place of a class that holds folders: a split, or a folder `images`, between the levels."""
    above = _is_split(folder.parent) and not _is_split(folder)  # <split>/<domain>/<class>/<image>
    beside = [name for name in _folders(root if above else folder.parent) if not above or _is_split(root / name)]
    each = "" if len(beside) < 2 else f", and {listed(beside)} each make a set of their own"
    cure = f"give one of them: {typeable(folder.parent)}" if above else links(root, folder)
    return DataError(
        f"{folder} holds folders ({listed(_folders(folder))}) instead of images: a level too many{each}",
        hint="\n".join([*trees(root, folder), cure]),
    )


def class_level_missing(root: Path, domain: Path, files: Sequence[str]) -> DataError:
    """For images where class folders must be: <class>/<image>, of which nobody can say what the domains are.

    Where other folders of the root have classes, this one is no class: the set has its domains.
    """
    name, classes = printable(domain.name), not any(_folders(root / other) for other in _folders(root))
    all_in_one = (
        f"if {name} is a class, this is a set of one domain: "
        f"mkdir SET && ln -s {_quoted(root)} SET/all, then dgdd distill ./SET --target none"
    )
    away = f"if {name} is no domain, move it out of {printable(str(root))}"
    return DataError(
        f"{domain} holds files directly ({listed(files)}): the class level is missing"
        f"{', or the domain level above it' if classes else ''}",
        hint="\n".join([*trees(root, domain), *([all_in_one] if classes else []), away]),
    )


def trees(root: Path, within: Path) -> tuple[str, str]:
    """Two lines: a path that is there, in the folder that does not fit, and the form that is read."""
    return f"found:  {printable(_example(within))}", f"wanted: {root}/{WANTED}"


def _is_split(folder: Path) -> bool:
    return folder.name.casefold() in SPLITS


def _folders(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if entry.is_dir()]


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


def links(root: Path, folder: Path) -> str:
    """The command that makes a set of links without a folder between domain and class: of splits the training one."""
    train = next((name for name in _folders(folder.parent) if name.casefold() == "train"), folder.name)
    between = train if _is_split(folder) else folder.name
    names = [name for name in _folders(root) if (root / name / between).is_dir()]
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
