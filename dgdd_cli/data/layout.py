"""Which folder holds which domain and class: two levels are looked at, no image is decoded.

    <root>/<domain>/<class>/<image>

Hidden names and operating systems' leftovers are ignored. In a catalog set a folder that is none of its domains or
classes is left out and named in a note; a missing domain is an error. In any other set every folder counts that holds
images, the others are named in a note, and the class list is the union over all domains.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from dgdd_cli.data.catalog import CatalogEntry, fold, folder_domain
from dgdd_cli.data.entries import EXPECTED, entries, is_folder, listed
from dgdd_cli.data.opening import counts_as_image, quiet
from dgdd_cli.data.trees import class_level_missing, links, trees
from dgdd_cli.errors import DataError
from dgdd_cli.text import check_name, printable, typeable


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of each class in each domain: domain -> class -> folder (absent where the domain lacks the class)."""

    root: Path
    class_names: tuple[str, ...]
    folders: Mapping[str, Mapping[str, Path]]
    notes: tuple[str, ...] = ()


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
    else:
        domains = _with_images(domains, root, notes)
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
                f"the folder name '{printable(found.name)}' {error}",
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


def _with_images(found: Mapping[str, Path], root: Path, notes: list[str]) -> dict[str, Path]:
    """The folders that can be domains; others stand beside them: lists, splits, documents."""
    with quiet():
        domains = {name: path for name, path in found.items() if _may_be_domain(path)}
    classes = {fold(e.name) for path in domains.values() for e in entries(path) if is_folder(e)}
    stray = [
        name
        for name, path in found.items()
        if name not in domains and not classes & {fold(e.name) for e in entries(path) if is_folder(e)}
    ]
    if not domains:
        return dict(found)  # whichever is read first says what is missing
    if stray:
        which = "which holds" if len(stray) == 1 else "which hold"
        notes.append(f"left out of {root.name}: {listed(stray)}, {which} neither images nor classes")
    return {name: path for name, path in found.items() if name not in stray}


def _may_be_domain(folder: Path) -> bool:
    """Whether there are images in it or in its folders, or folders deeper down."""
    inside = entries(folder)
    return any(
        any(is_folder(e) or counts_as_image(Path(e.path)) for e in entries(Path(found.path)))
        if is_folder(found)
        else counts_as_image(Path(found.path))
        for found in sorted(inside, key=is_folder, reverse=True)
    )


def _class_folders(domain: Path, root: Path, notes: list[str]) -> dict[str, Path]:
    inside = entries(domain)
    folders = {e.name: Path(e.path) for e in _own_folders(inside, domain, notes)}
    files = [e.name for e in inside if not is_folder(e)]
    if not folders:
        if files:
            raise class_level_missing(root, domain, files)
        raise DataError(f"{domain} is empty", hint=EXPECTED.replace("DIR", str(root)))
    seen: dict[Path, str] = {}
    for name, path in folders.items():
        other = seen.setdefault(path.resolve(), name)
        if other != name:
            raise DataError(
                f"the classes {other!r} and {name!r} of the domain {domain.name!r} are the same folder "
                f"{path.resolve()}: its images would count under both",
                hint=f"rm {typeable(path if path.is_symlink() else domain / other)} removes the link",
            )
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
            raise _none_of_the_classes(domain, folders, entry)
        result[domain] = mine
    return result


def _none_of_the_classes(domain: str, folders: Mapping[str, Path], entry: CatalogEntry) -> DataError:
    path = next(iter(folders.values()))
    root = path.parent.parent
    if any(is_folder(e) for e in entries(path)):
        cure = links(root, path)
    else:
        cure = f"the classes are called {listed(entry.class_names, 8)}"
    return DataError(
        f"the domain {domain!r} holds none of the classes of {entry.name}: found {listed(list(folders))}",
        hint="\n".join([*trees(root, path.parent), cure]),
    )


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
            notes.append(f"read as one class: {', '.join(_told_apart([name, *others]))}")
    renamed = {
        domain: {first[folder if distinct else fold(folder)]: path for folder, path in folders.items()}
        for domain, folders in found.items()
    }
    return tuple(first.values()), renamed


def _told_apart(names: list[str]) -> list[str]:
    """The names in quotes; those that look the same, as é may be one character or two, in escapes as well."""
    looks = Counter(unicodedata.normalize("NFC", name) for name in names)
    return [
        f"{name!r} (written {name!a})" if looks[unicodedata.normalize("NFC", name)] > 1 else repr(name)
        for name in names
    ]


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
