"""A dataset in a table: what a user writes to read the images that a CSV lists, with the columns path, label, domain.

Paths start from the folder of the CSV.
"""

import csv
import io
from pathlib import Path

from dgdd_cli.data.catalog import CatalogEntry
from dgdd_cli.data.decode import Sample
from dgdd_cli.data.files import below, read_file, sample_of
from dgdd_cli.data.reader import Contents, Reader
from dgdd_cli.errors import DataError

COLUMNS = ("path", "label", "domain")


def claims(root: Path, entry: CatalogEntry | None) -> bool:
    return entry is None and root.suffix.lower() == ".csv" and not root.is_dir()


def contents(root: Path, entry: CatalogEntry | None) -> Contents:
    rows = list(enumerate(_rows(root), 2))
    domains, classes = (tuple(dict.fromkeys(sorted(row[key] for _, row in rows))) for key in ("domain", "label"))
    samples: dict[str, list[Sample]] = {domain: [] for domain in domains}
    for line, row in rows:
        path = below(root.parent, row["path"], f"{root.name}, line {line}")
        samples[row["domain"]].append(sample_of(root.parent, path, classes.index(row["label"])))
    return Contents(domains, classes, lambda domain: (samples[domain], ()))


def _rows(root: Path) -> list[dict[str, str]]:
    try:
        rows = csv.DictReader(io.StringIO(read_file(root).decode("utf-8-sig")), strict=True)
        found = [{key: row[key] for key in COLUMNS} for row in rows]
    except KeyError as error:
        raise DataError(f"{root} has no column {error}", hint=f"its columns must be {', '.join(COLUMNS)}") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"cannot read {root}: {error}", hint="check the path, and that it is a CSV in UTF-8") from None
    for line, row in enumerate(found, 2):
        if None in row.values():
            raise DataError(f"{root}, line {line}: a value is missing", hint=f"give {', '.join(COLUMNS)}")
    return found


CSV = Reader(claims, contents)
