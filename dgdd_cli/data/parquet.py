"""Catalog sets as parquet files: which rows a domain has, and their images, read when they are asked for.

The columns are `image` (struct of bytes and path, or bytes), `domain` (string) and `label` (class index or name), as in
`flwrlabs/pacs`. Images are taken one by one and never joined: Arrow's arrays of bytes end at 2 GiB.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dgdd_cli.data.catalog import CatalogEntry, canonical_domain, fold
from dgdd_cli.data.decode import Sample
from dgdd_cli.data.folder import domains_in
from dgdd_cli.data.hub import INSTALL, find_parquet, first_line
from dgdd_cli.data.reader import Contents, Reader
from dgdd_cli.errors import DataError, UnknownName

COLUMNS = ("image", "domain", "label")
BATCH = 64  # rows read at once


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
        _check_columns(schema, path, entry)
        features = _features(schema.metadata)
        table = parquet.read_table(path, columns=["domain", "label"])
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        raise _unreadable(path, error) from None
    values = table["domain"].to_pylist()
    spellings = _spellings(dict.fromkeys(values), features, entry, path)
    rows = [row for row, value in enumerate(values) if spellings[value] == domain]
    stated = table["label"].to_pylist()
    labels = _labels([stated[row] for row in rows], features, entry, path)
    images = _once(partial(_images, path, rows))
    return [
        Sample(f"{path.name}/{domain}/{number:06d}", label, partial(_bytes, images, number), path)
        for number, label in enumerate(labels)
    ]


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    """`make`, called by the first of all threads that ask."""
    lock, made = threading.Lock(), list[Any]()

    def get() -> Any:
        with lock:
            if not made:
                made.append(make())
        return made[0]

    return get


def _images(path: Path, rows: Sequence[int]) -> list[bytes | None]:
    """The images of the given rows, ascending; row groups with none of them are not read."""
    import pyarrow
    from pyarrow import parquet

    found: list[Any] = []
    start, left = 0, list(reversed(rows))
    try:
        with parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                here = (
                    file.iter_batches(BATCH, row_groups=[group], columns=["image"]) if left and left[-1] < end else ()
                )
                for batch in here:
                    while left and left[-1] < start + len(batch):
                        found.append(batch.column("image")[left.pop() - start].as_py())
                    start += len(batch)
                start = end
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    images = [value.get("bytes") if isinstance(value, dict) else value for value in found]
    if all(image is None for image in images) and any(isinstance(value, dict) for value in found):
        raise _holds_paths(path)
    return images


def _bytes(images: Callable[[], list[bytes | None]], row: int) -> bytes:
    content = images()[row]
    if not isinstance(content, bytes):
        raise ValueError("the row holds no image bytes")
    return content


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(f"cannot read {path}: {first_line(error)}", hint="delete the file and fetch it again")


def _holds_paths(path: Path) -> DataError:
    return DataError(
        f"{path.name} holds the paths of images and not the images: nothing in it can be decoded",
        hint="write it again with the images' bytes (load_dataset(...).to_parquet does), or give the images as folders",
    )


def _check_columns(schema: Any, path: Path, entry: CatalogEntry) -> None:
    from pyarrow import types

    found = schema.names
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
    image = schema.field("image").type
    if types.is_string(image) or types.is_large_string(image) or types.is_string_view(image):
        raise _holds_paths(path)


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


def _spellings(
    values: Iterable[Any], features: dict[str, list[str]], entry: CatalogEntry, path: Path
) -> dict[Any, str]:
    """Each distinct value of the domain column with the canonical domain it means."""
    result: dict[Any, str] = {}
    names = features.get("domain")
    for value in values:
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
        if isinstance(value, float):
            value = _whole(value, path)
        inside = isinstance(value, int) and 0 <= value < len(stated)
        label = position.get(fold(stated[value] if inside else value)) if inside or isinstance(value, str) else None
        if label is None:
            raise DataError(
                f"{path.name}: the label {value!r} is no class of {entry.name}",
                hint=f"its classes are {', '.join(entry.class_names[:8])}",
            )
        result.append(label)
    return result


def _whole(value: float, path: Path) -> int:
    """A class index that was written as a decimal: 1.0 is 1."""
    if not value.is_integer():
        raise DataError(
            f"{path.name}: the column 'label' holds decimals ({value!r}), not classes",
            hint="labels are class numbers (0, 1 ...) or names",
        )
    return int(value)


def parquet_contents(paths: Sequence[Path], entry: CatalogEntry) -> Contents:
    """A catalog set in parquet files. Raises DataError for one whose classes the catalog does not know."""
    if not entry.class_names:
        raise DataError(f"{entry.name} as parquet files is not supported: {paths[0].parent}", hint=entry.obtain)
    return Contents(entry.domain_names, entry.class_names, lambda domain: (read_parquet(paths, entry, domain), ()))


def _claims(root: Path, entry: CatalogEntry | None) -> bool:
    return entry is not None and root.is_dir() and not domains_in(entry, root) and bool(find_parquet(root))


def _contents(root: Path, entry: CatalogEntry | None) -> Contents:
    assert entry is not None  # what is claimed is a catalog set
    return parquet_contents(find_parquet(root), entry)


PARQUET = Reader(_claims, _contents)
