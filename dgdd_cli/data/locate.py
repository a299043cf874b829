"""Where a dataset is: embedded, in a folder, in parquet files, or on the hub. Names are read here, pixels are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dgdd_cli.data.catalog import CATALOG, CatalogEntry, canonical_domain, dataset_names, entry_for, fold, folder_domain
from dgdd_cli.data.entries import entries, is_folder
from dgdd_cli.data.hub import find_parquet
from dgdd_cli.data.layout import Layout, read_layout
from dgdd_cli.errors import DataError, UnknownName
from dgdd_cli.text import typeable

INNER = ("images", "kfold", "data")  # where some copies keep the domains, one level down


@dataclass(frozen=True, slots=True)
class Located:
    """A dataset that was found but not read; `root` None: embedded, or on the hub.

    A folder that is not in the catalog has no entry and no default target.
    """

    name: str
    entry: CatalogEntry | None
    root: Path | None
    domain_names: tuple[str, ...]
    class_names: tuple[str, ...]
    default_target: str | None
    layout: Layout | None = field(default=None, repr=False)
    parquet: tuple[Path, ...] = field(default=(), repr=False)
    looked_in: Path | None = field(default=None, repr=False)


def locate(name_or_path: str, *, data_dir: Path | None = None) -> Located:
    """Find a catalog set (embedded, under `data_dir`, else on the hub) or a folder <domain>/<class>/<image>.

    A path is what contains a separator, starts with `.` or `~`, or is a folder here while no catalog set has its name.
    Without `data_dir` a folder here with the name of a catalog set is taken for that set.
    Raises UnknownName for an unknown dataset, DataError for a missing, empty or ill-formed folder.
    """
    is_path = any(mark in name_or_path for mark in "/\\") or name_or_path.startswith((".", "~"))
    entry = None if is_path else entry_for(name_or_path)
    if entry is None:
        if not is_path and not Path(name_or_path).is_dir():
            raise UnknownName(
                "dataset", name_or_path, dataset_names(), hint=f"a folder is given as {typeable(f'./{name_or_path}')}"
            )
        _check_not_of_the_hub(name_or_path)
        return _folder(_home(Path(name_or_path)))
    if entry.name == "digits":
        return _catalog(entry)
    if data_dir is None and Path(name_or_path).is_dir():
        data_dir = Path()
    data_dir = None if data_dir is None else _home(data_dir)
    root = None if data_dir is None else _find(entry, data_dir)
    if root is not None:
        paths = _whole_parquet(entry, root)
        return _catalog(entry, root, parquet=paths) if paths else _catalog(entry, root, read_layout(root, entry))
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
    """The canonical name of a domain given by name, alias or another spelling. Raises UnknownName."""
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


def _folder(root: Path) -> Located:
    layout = read_layout(root, None)
    name = root.resolve().name
    if entry_for(name) is not None:  # nobody shall take somebody's own folder for the published set
        name = f"{name} (own folder)"
    return Located(name, None, root, tuple(layout.folders), layout.class_names, None, layout)


def _catalog(
    entry: CatalogEntry,
    root: Path | None = None,
    layout: Layout | None = None,
    *,
    parquet: tuple[Path, ...] = (),
    looked_in: Path | None = None,
) -> Located:
    classes = layout.class_names if layout is not None else entry.class_names
    target = entry.default_target
    return Located(entry.name, entry, root, entry.domain_names, classes, target, layout, parquet, looked_in)


def _find(entry: CatalogEntry, data_dir: Path) -> Path | None:
    """The folder of a catalog set: a child of `data_dir` with one of its names, or `data_dir` itself."""
    known = [fold(name) for name in (entry.name, *entry.folder_names)]
    children = [Path(e.path) for e in entries(data_dir) if is_folder(e) and fold(e.name) in known]
    children.sort(key=lambda path: known.index(fold(path.name)))
    for child in children:
        for folder in (child, *(child / inner for inner in INNER)):
            if folder.is_dir() and (_domains_in(entry, folder) or find_parquet(folder)):
                return folder
    if len(_domains_in(entry, data_dir)) == len(entry.domain_names):
        return data_dir
    if fold(data_dir.resolve().name) in known and (_domains_in(entry, data_dir) or find_parquet(data_dir)):
        return data_dir
    return children[0] if children else None  # empty or ill-formed: reading its layout says how


def _domains_in(entry: CatalogEntry, folder: Path) -> set[str]:
    found = (folder_domain(entry, e.name) for e in entries(folder) if is_folder(e))
    return {name for name in found if name is not None}


def _whole_parquet(entry: CatalogEntry, root: Path) -> tuple[Path, ...]:
    paths = () if _domains_in(entry, root) else find_parquet(root)
    if paths and not entry.class_names:
        raise DataError(f"{entry.name} as parquet files is not supported: {root}", hint=entry.obtain)
    return paths
