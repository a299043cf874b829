"""Catalog sets as parquet files: fetched from the Hugging Face hub, or found in a folder.

The columns are `image` (struct of bytes and path), `domain` (string) and `label` (class index or name), as in
`flwrlabs/pacs`. huggingface_hub and pyarrow come with the extra `hub`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dgdd_cli.data.catalog import CatalogEntry, canonical_domain, fold
from dgdd_cli.data.decode import Sample
from dgdd_cli.errors import DataError, UnknownName
from dgdd_cli.progress import Progress, silent

INSTALL = "pip install 'dgdd[hub]'"
COLUMNS = ("image", "domain", "label")


def fetch(
    entry: CatalogEntry,
    *,
    looked_in: Path | None = None,
    hub_cache: Path | None = None,
    offline: bool = False,
    progress: Progress = silent,
) -> tuple[Path, ...]:
    """The parquet files of a catalog set from the hub, downloaded unless the hub's own cache has them.

    Raises DataError when the extra is not installed, the hub cannot be reached, or the set is not cached and `offline`.
    """
    assert entry.hub is not None
    absent = f"{entry.name} is not in {looked_in}" if looked_in else f"no data folder with {entry.name} was given"
    by_hand = f"--data DIR, with the images as DIR/{entry.folder_names[0]}/<domain>/<class>/<image>"
    try:
        import huggingface_hub
        from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
        from pyarrow import parquet  # noqa: F401  (asked for now rather than after the download)
    except ImportError:
        raise DataError(
            f"{absent}, and fetching it from the Hugging Face hub needs the extra 'hub'",
            hint=f"{INSTALL}\nor {by_hand}",
        ) from None
    progress(f"fetching {entry.hub}", 0, 1)
    disable_progress_bars()
    try:
        folder = huggingface_hub.snapshot_download(
            entry.hub,
            repo_type="dataset",
            allow_patterns=["data/*.parquet"],
            cache_dir=hub_cache,
            local_files_only=offline,
        )
    except _hub_errors() as error:
        why = "it is not in its cache and --offline was given" if offline else _first_line(error)
        raise DataError(
            f"{absent}, and {entry.hub} cannot be fetched from the Hugging Face hub: {why}",
            hint=("drop --offline\n" if offline else "check the network and try again\n") + f"or {by_hand}",
        ) from None
    finally:
        enable_progress_bars()
    progress(f"fetching {entry.hub}", 1, 1)
    paths = find_parquet(Path(folder))
    if not paths:
        raise DataError(f"{entry.hub} on the hub holds no data/*.parquet", hint=by_hand)
    return paths


def find_parquet(folder: Path) -> tuple[Path, ...]:
    """The parquet files of a folder or of its sub-folder `data`, sorted by name."""
    return tuple(sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet")))


def read_parquet(paths: Sequence[Path], entry: CatalogEntry, domain: str) -> list[Sample]:
    """The samples of one domain, in the files' order; only that domain's images are read into memory.

    Raises DataError for unreadable files, a missing column (a copy without `domain` cannot be used), a label out of
    range, an unknown domain, and a domain without rows.
    """
    samples: list[Sample] = []
    for path in paths:
        samples += _read_file(path, entry, domain)
    if not samples:
        raise DataError(
            f"the parquet copy of {entry.name} holds no image of the domain {domain!r}: it is a partial copy",
            hint=f"use {entry.hub}" if entry.hub else entry.obtain,
        )
    return samples


def _read_file(path: Path, entry: CatalogEntry, domain: str) -> list[Sample]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"reading {path.name} needs pyarrow, of the extra 'hub'", hint=INSTALL) from None
    try:
        schema = parquet.read_schema(path)
        _check_columns(schema.names, path, entry)
        features = _features(schema.metadata)
        spellings = _spellings(parquet.read_table(path, columns=["domain"])["domain"], features, entry, path)
        mine = [value for value, name in spellings.items() if name == domain]
        table = parquet.read_table(path, columns=list(COLUMNS), filters=[("domain", "in", mine)]) if mine else None
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        raise DataError(
            f"cannot read {path}: {_first_line(error)}", hint="delete the file and fetch it again"
        ) from None
    if table is None:
        return []
    labels = _labels(table["label"].to_pylist(), features, entry, path)
    images = table["image"].combine_chunks()
    return [
        Sample(f"{path.name}/{domain}/{row:06d}", label, partial(_bytes, images, row))
        for row, label in enumerate(labels)
    ]


def _bytes(images: Any, row: int) -> bytes:
    value = images[row].as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise ValueError("the row holds no image bytes")
    return content


def _check_columns(found: Sequence[str], path: Path, entry: CatalogEntry) -> None:
    missing = [name for name in COLUMNS if name not in found]
    if "domain" in missing:
        raise DataError(
            f"{path.name} has no column 'domain' (columns: {', '.join(found)}): without it nothing can be held out",
            hint=f"use {entry.hub}, which has one" if entry.hub else entry.obtain,
        )
    if missing:
        raise DataError(
            f"{path.name} has no column {missing[0]!r} (columns: {', '.join(found)})",
            hint=f"the columns must be {', '.join(COLUMNS)}",
        )


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """The class names of each ClassLabel column, from the metadata that the `datasets` library writes."""
    try:
        stated = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        columns = {name: stated[name]["names"] for name in COLUMNS if isinstance(stated.get(name), dict)
                   and "names" in stated[name]}  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {
        column: names
        for column, names in columns.items()
        if isinstance(names, list) and all(isinstance(name, str) for name in names)
    }


def _spellings(column: Any, features: dict[str, list[str]], entry: CatalogEntry, path: Path) -> dict[Any, str]:
    """Each distinct value of the domain column with the canonical domain it means."""
    result: dict[Any, str] = {}
    names = features.get("domain")
    for value in column.unique().to_pylist():
        text = names[value] if names is not None and isinstance(value, int) and 0 <= value < len(names) else value
        if not isinstance(text, str):
            raise DataError(
                f"{path.name}: the domain {value!r} has no name",
                hint=f"the column must hold {', '.join(entry.domain_names)}",
            )
        try:
            result[value] = canonical_domain(entry, text)
        except UnknownName:
            raise DataError(
                f"{path.name}: {text!r} is no domain of {entry.name}",
                hint=f"its domains are {', '.join(entry.domain_names)}",
            ) from None
    return result


def _labels(values: list[Any], features: dict[str, list[str]], entry: CatalogEntry, path: Path) -> list[int]:
    """Labels as indices into the catalog's class list; names count where the file states them."""
    position = {fold(name): index for index, name in enumerate(entry.class_names)}
    stated = features.get("label") or list(entry.class_names)
    result = []
    for value in values:
        inside = isinstance(value, int) and 0 <= value < len(stated)
        label = position.get(fold(stated[value] if inside else value)) if inside or isinstance(value, str) else None
        if label is None:
            raise DataError(
                f"{path.name}: the label {value!r} is no class of {entry.name}",
                hint=f"its classes are {', '.join(entry.class_names[:8])}",
            )
        result.append(label)
    return result


def _hub_errors() -> tuple[type[Exception], ...]:
    """What a download raises: the hub's own errors, and those of whichever HTTP library it is built on."""
    from huggingface_hub import errors

    names = (
        *("HTTPError", "HfHubHTTPError", "EntryNotFoundError", "CachedRepoTreeNotFoundError"),
        *("RevisionResolutionError", "XetDownloadError", "CorruptedCacheException"),
    )
    present = [getattr(errors, name) for name in names if hasattr(errors, name)]
    return (OSError, ValueError, *present)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
