"""The reader of folders <domain>/<class>/<image>: the files of a domain, in the order of their names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dgdd_cli.data.catalog import CatalogEntry, folder_domain
from dgdd_cli.data.decode import Sample
from dgdd_cli.data.entries import entries, is_folder, listed
from dgdd_cli.data.files import is_device, sample_of
from dgdd_cli.data.layout import Layout, read_layout
from dgdd_cli.data.opening import counts_as_image, quiet
from dgdd_cli.data.reader import Contents, Reader
from dgdd_cli.data.trees import level_too_many
from dgdd_cli.errors import DataError
from dgdd_cli.text import plural


def list_samples(layout: Layout, domain: str) -> tuple[list[Sample], tuple[str, ...]]:
    """The samples of a domain sorted by class index and file name, and notes on what was left out.

    Raises DataError for a domain without any file, and for a class folder that holds folders instead of images.
    """
    samples: list[Sample] = []
    left_out: list[str] = []
    nested: list[str] = []
    for label, name in enumerate(layout.class_names):
        folder = layout.folders[domain].get(name)
        if folder is None:
            continue
        files, others, deeper = _files(folder)
        if deeper and not files:
            raise level_too_many(layout.root, folder)
        left_out += others
        nested += [str(Path(folder.name) / d) for d in deeper]
        for path in files:
            samples.append(sample_of(layout.root, path, label))
    if not samples:
        instead = f", but {plural(len(left_out), 'other file')}: {listed(left_out)}" if left_out else ""
        raise DataError(
            f"the domain {domain!r} in {layout.root} holds no image{instead}",
            hint=f"expected {layout.root}/<domain>/<class>/<image>",
        )
    notes = []
    if left_out:
        are = "that is no image" if len(left_out) == 1 else "that are no images"
        notes.append(f"{domain}: left out {plural(len(left_out), 'file')} {are}: {listed(left_out)}")
    if nested:
        notes.append(f"{domain}: left out folders inside class folders: {listed(nested)}")
    return samples, tuple(notes)


def _files(folder: Path) -> tuple[list[Path], list[str], list[str]]:
    images: list[Path] = []
    others: list[str] = []
    deeper: list[str] = []
    with quiet():
        for entry in entries(folder):
            if is_folder(entry):
                deeper.append(entry.name)
            elif is_device(Path(entry.path)) or not counts_as_image(Path(entry.path)):
                others.append(entry.name)
            else:
                images.append(Path(entry.path))
    return images, others, deeper


def domains_in(entry: CatalogEntry, folder: Path) -> set[str]:
    """The domains of a catalog set that have a folder in another."""
    found = (folder_domain(entry, e.name) for e in entries(folder) if is_folder(e))
    return {name for name in found if name is not None}


def _claims(root: Path, entry: CatalogEntry | None) -> bool:
    return root.is_dir() and (entry is None or bool(domains_in(entry, root)))


def _contents(root: Path, entry: CatalogEntry | None) -> Contents:
    layout = read_layout(root, entry)
    return Contents(tuple(layout.folders), layout.class_names, partial(list_samples, layout), layout.notes)


FOLDER = Reader(_claims, _contents)
