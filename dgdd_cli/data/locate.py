"""Where a dataset is: embedded, on disk in the form of one of the readers, or on the hub. Names are read here, pixels
are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dgdd_cli.data.catalog import CATALOG, CatalogEntry, canonical_domain, dataset_names, entry_for, fold
from dgdd_cli.data.entries import entries, is_folder
from dgdd_cli.data.folder import FOLDER, domains_in
from dgdd_cli.data.reader import Contents
from dgdd_cli.data.readers import READERS, reader_of
from dgdd_cli.errors import DataError, UnknownName
from dgdd_cli.text import typeable

INNER = ("images", "kfold", "data")  # where some copies keep the domains, one level down


@dataclass(frozen=True, slots=True)
class Located:
    """A dataset that was found but not read; `root` None: embedded, or on the hub, where it has no contents yet.

    What is not in the catalog has no entry and no default target.
    """

    name: str
    entry: CatalogEntry | None
    root: Path | None
    domain_names: tuple[str, ...]
    class_names: tuple[str, ...]
    default_target: str | None
    contents: Contents | None = field(default=None, repr=False)
    looked_in: Path | None = field(default=None, repr=False)


def locate(name_or_path: str, *, data_dir: Path | None = None) -> Located:
    """Find a catalog set (embedded, under `data_dir`, else on the hub) or a path that one of the readers claims.

    A path is what contains a separator, starts with `.` or `~`, or is here for a reader to claim while no catalog set
    has its name.
    Without `data_dir` a folder here with the name of a catalog set is taken for that set.
    Raises UnknownName for an unknown dataset, DataError for a missing, empty or ill-formed folder.
    """
    is_path = any(mark in name_or_path for mark in "/\\") or name_or_path.startswith((".", "~"))
    entry = None if is_path else entry_for(name_or_path)
    if entry is None:
        if not is_path and not (Path(name_or_path).exists() and reader_of(Path(name_or_path))):
            raise UnknownName(
                "dataset", name_or_path, dataset_names(), hint=f"a folder is given as {typeable(f'./{name_or_path}')}"
            )
        _check_not_of_the_hub(name_or_path)
        return _own(_home(Path(name_or_path)))
    if entry.name in READERS:
        return _catalog(entry, contents=READERS[entry.name].contents(Path(), entry))
    if data_dir is None and Path(name_or_path).is_dir():
        data_dir = Path()
    data_dir = None if data_dir is None else _home(data_dir)
    root = None if data_dir is None else _find(entry, data_dir)
    if root is not None:
        return _catalog(entry, root, contents=_contents(root, entry))
    if entry.hub is not None:
        return _catalog(entry, looked_in=data_dir)
    where = f"is not in {data_dir}" if data_dir is not None else "is not embedded, and no data folder was given"
    raise DataError(f"{entry.name} {where}", hint=f"--data DIR\n{entry.obtain}")


def _check_not_of_the_hub(name: str) -> None:
    """Raise DataError for a catalog set under the name that it has on the Hugging Face hub."""
    for entry in CATALOG.values():
        if entry.hub == name and not Path(name).exists():
            raise DataError(
                f"there is no folder {name}", hint=f"the set of this name on the hub is called {entry.name}"
            )


def resolve_domain(located: Located, text: str) -> str:
    """The canonical name of a domain given by name, alias or another spelling, or as ./NAME. Raises UnknownName."""
    text = text.removeprefix("./")  # of a domain whose bare name means something else: ./none
    if text in located.domain_names:
        return text
    if located.entry is not None:
        return canonical_domain(located.entry, text)
    same = [name for name in located.domain_names if fold(name) == fold(text)]
    if len(same) != 1:
        raise UnknownName(f"domain of {located.name}", text, located.domain_names)
    return same[0]


def resolve_domains(located: Located, text: str) -> list[str]:
    """The canonical names of a list with commas; the exact name of a domain wins over its parts. Raises UnknownName."""
    parts, found = text.split(","), []
    while parts:
        runs = [",".join(parts[:count]).strip() for count in range(len(parts), 0, -1)]
        name = next((run for run in runs if run in located.domain_names), runs[-1])
        parts = parts[len(parts) - runs.index(name) :]
        found += [resolve_domain(located, name)] if name else []
    return found


def _home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise DataError(f"there is no home folder for {path}", hint="give the whole path") from None


def _contents(root: Path, entry: CatalogEntry | None) -> Contents:
    """What lies at a place; where nobody claims it, the reader of folders says what is missing."""
    return (reader_of(root, entry) or FOLDER).contents(root, entry)


def _own(root: Path) -> Located:
    contents, place = _contents(root, None), root.resolve()
    name, kind = (place.stem, "file") if place.is_file() else (place.name, "folder")
    if entry_for(name) is not None:  # nobody shall take somebody's own folder for the published set
        name = f"{name} (own {kind})"
    return Located(name, None, root, contents.domain_names, contents.class_names, None, contents)


def _catalog(
    entry: CatalogEntry,
    root: Path | None = None,
    *,
    contents: Contents | None = None,
    looked_in: Path | None = None,
) -> Located:
    classes = contents.class_names if contents is not None else entry.class_names
    return Located(entry.name, entry, root, entry.domain_names, classes, entry.default_target, contents, looked_in)


def _find(entry: CatalogEntry, data_dir: Path) -> Path | None:
    """The folder of a catalog set: a child of `data_dir` with one of its names, or `data_dir` itself."""
    known = [fold(name) for name in (entry.name, *entry.folder_names)]
    children = [Path(e.path) for e in entries(data_dir) if is_folder(e) and fold(e.name) in known]
    children.sort(key=lambda path: known.index(fold(path.name)))
    for child in children:
        for folder in (child, *(child / inner for inner in INNER)):
            if folder.is_dir() and reader_of(folder, entry):
                return folder
    if len(domains_in(entry, data_dir)) == len(entry.domain_names):
        return data_dir
    if fold(data_dir.resolve().name) in known and reader_of(data_dir, entry):
        return data_dir
    return children[0] if children else None  # empty or ill-formed: reading its layout says how
