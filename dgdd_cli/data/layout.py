"""Which folder holds which domain and class: two levels are looked at, no image is opened.

    <root>/<domain>/<class>/<image>

Hidden names and operating systems' leftovers are ignored. In a catalog set a folder that is none of its domains or
classes is left out and named in a note; a missing domain is an error. In any other set every folder counts, and the
class list is the union over all domains.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from dgdd_cli.data.catalog import CatalogEntry, fold, folder_domain
from dgdd_cli.errors import DataError
from dgdd_cli.text import check_name, printable

LITTER = {
    *(".ds_store", ".localized", "icon\r", "__macosx"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"),
    *("@eadir", "lost+found", ".directory"),
}
EXPECTED = "expected DIR/<domain>/<class>/<image>, for example DIR/photo/dog/1.jpg and DIR/sketch/dog/1.png"


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of each class in each domain: domain -> class -> folder (absent where the domain lacks the class)."""

    root: Path
    class_names: tuple[str, ...]
    folders: Mapping[str, Mapping[str, Path]]
    notes: tuple[str, ...] = ()


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, sorted by name, without hidden names. Raises DataError when it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            kept = [entry for entry in found if not is_hidden(entry.name)]
    except FileNotFoundError:
        raise DataError(f"there is no folder {folder}", hint=f"check the path; {EXPECTED}") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file, not a folder", hint=f"unpack archives first; {EXPECTED}") from None
    except PermissionError:
        raise DataError(f"no permission to read the folder {folder}", hint=f"chmod -R u+rX {folder}") from None
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}", hint=EXPECTED) from None
    return sorted(kept, key=lambda entry: entry.name)


def is_hidden(name: str) -> bool:
    """Names that no user means as data: dot files, Thumbs.db and the like."""
    return name.startswith(".") or is_litter(name)


def is_litter(name: str) -> bool:
    """What operating systems leave behind in a folder that was looked at: .DS_Store, ._x.png, Thumbs.db ..."""
    return name.startswith("._") or name.casefold() in LITTER


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a folder; a symbolic link that leads nowhere or round in circles is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def read_layout(root: Path, entry: CatalogEntry | None) -> Layout:
    """The layout of a folder; with an entry, its domains and classes under their canonical names.

    Raises DataError: nothing there, a level missing, a catalog domain missing, two folders for the same name.
    """
    inside = entries(root)
    notes: list[str] = []
    domains = {e.name: Path(e.path) for e in _own_folders(inside, root, notes)}
    if not domains:
        what = "holds files but no folders" if inside else "is empty"
        raise DataError(f"{root} {what}", hint=EXPECTED)
    if entry is not None:
        domains = _catalog_domains(domains, entry, root, notes)
    classes = {name: _class_folders(path, root, notes) for name, path in domains.items()}
    _no_folder_twice(domains)
    if entry is not None and entry.class_names:
        return Layout(root, entry.class_names, _catalog_classes(classes, entry, notes), tuple(notes))
    names, folders = _united_classes(classes, notes)
    return Layout(root, names, folders, tuple(notes))


def _own_folders(inside: list[os.DirEntry[str]], root: Path, notes: list[str]) -> list[os.DirEntry[str]]:
    """The sub-folders, without links that lead back to the root or above it; their names must be printable."""
    above = {root.resolve(), *root.resolve().parents}
    kept = []
    for found in inside:
        if not is_folder(found):
            continue
        if found.is_symlink() and Path(found.path).resolve() in above:
            notes.append(f"left out {found.path}: a link that leads back to a folder above it")
            continue
        try:
            check_name(found.name)
        except ValueError as error:
            raise DataError(
                f"the folder name {printable(found.name)!r} {error}",
                hint="rename the folder: it names a domain or class",
            ) from None
        kept.append(found)
    return kept


def _catalog_domains(found: Mapping[str, Path], entry: CatalogEntry, root: Path, notes: list[str]) -> dict[str, Path]:
    domains: dict[str, Path] = {}
    stray = []
    for folder, path in found.items():
        name = folder_domain(entry, folder)
        if name is None:
            stray.append(folder)
        elif name in domains:
            raise DataError(
                f"{root} holds the domain {name!r} of {entry.name} twice: {domains[name].name!r} and {folder!r}",
                hint="keep one of the two folders",
            )
        else:
            domains[name] = path
    missing = [name for name in entry.domain_names if name not in domains]
    if missing:
        seen = f"; found instead: {listed(stray)}" if stray else ""
        raise DataError(
            f"{root} lacks {_folders(missing)} of {entry.name}{seen}",
            hint=f"rename or add the folder; to read what is there as a set of its own, give its path: {root}",
        )
    if stray:
        notes.append(f"left out of {entry.name}: {listed(stray)} in {root}, which is no domain of it")
    return {name: domains[name] for name in entry.domain_names}


def _class_folders(domain: Path, root: Path, notes: list[str]) -> dict[str, Path]:
    inside = entries(domain)
    folders = {e.name: Path(e.path) for e in _own_folders(inside, domain, notes)}
    files = [e.name for e in inside if not is_folder(e)]
    if not folders:
        if files:
            raise DataError(
                f"{domain} holds files directly ({listed(files)}): the class level is missing",
                hint=EXPECTED.replace("DIR", str(root)),
            )
        raise DataError(f"{domain} is empty", hint=EXPECTED.replace("DIR", str(root)))
    if files:
        notes.append(f"left out {listed(files)} in {domain}: only class folders are read there")
    return folders


def _catalog_classes(
    found: Mapping[str, Mapping[str, Path]], entry: CatalogEntry, notes: list[str]
) -> dict[str, dict[str, Path]]:
    known = {fold(name): name for name in entry.class_names}
    result: dict[str, dict[str, Path]] = {}
    for domain, folders in found.items():
        mine: dict[str, Path] = {}
        stray = []
        for folder, path in folders.items():
            name = known.get(fold(folder))
            if name is None:
                stray.append(folder)
            elif name in mine:
                raise DataError(
                    f"{path.parent} holds the class {name!r} twice: {mine[name].name!r} and {folder!r}",
                    hint="merge the two folders",
                )
            else:
                mine[name] = path
        if stray:
            near = [n for folder in stray for n in get_close_matches(fold(folder), entry.class_names, n=1)]
            guess = f" (did you mean {listed(near)}?)" if near else ""
            notes.append(f"left out of {entry.name}/{domain}: {listed(stray)}, which is no class of it{guess}")
        if not mine:
            raise DataError(
                f"the domain {domain!r} holds none of the classes of {entry.name}: found {listed(stray)}",
                hint=f"its classes are {listed(entry.class_names)}; is there a level too many?",
            )
        result[domain] = mine
    return result


def _united_classes(
    found: Mapping[str, Mapping[str, Path]], notes: list[str]
) -> tuple[tuple[str, ...], dict[str, dict[str, Path]]]:
    """One class list for all domains. `Dog` and `dog` are one class unless some domain has both."""
    spellings = sorted({folder for folders in found.values() for folder in folders})
    distinct = any(max(Counter(map(fold, folders)).values()) > 1 for folders in found.values())
    first: dict[str, str] = {}
    for spelling in spellings:
        first.setdefault(spelling if distinct else fold(spelling), spelling)
    for key, name in first.items():
        others = [s for s in spellings if not distinct and fold(s) == key and s != name]
        if others:
            notes.append(f"read as one class: {listed([name, *others])}")
    renamed = {
        domain: {first[folder if distinct else fold(folder)]: path for folder, path in folders.items()}
        for domain, folders in found.items()
    }
    return tuple(first.values()), renamed


def _no_folder_twice(domains: Mapping[str, Path]) -> None:
    seen: dict[Path, str] = {}
    for name, path in domains.items():
        real = path.resolve()
        if real in seen:
            raise DataError(
                f"the domains {seen[real]!r} and {name!r} are the same folder {real}",
                hint="remove the link: a domain must not be on both sides of a split",
            )
        seen[real] = name


def _folders(names: list[str]) -> str:
    return f"the domain {names[0]!r}" if len(names) == 1 else f"the domains {', '.join(map(repr, names))}"


def listed(names: list[str] | tuple[str, ...], most: int = 4) -> str:
    """The first few names in quotes, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
