"""The image files of one domain of a folder set, in the order of their names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dgdd_cli.data.decode import Sample
from dgdd_cli.data.entries import entries, is_folder, listed
from dgdd_cli.data.layout import Layout
from dgdd_cli.data.opening import counts_as_image, quiet
from dgdd_cli.data.trees import level_too_many
from dgdd_cli.errors import DataError
from dgdd_cli.text import plural

LARGEST_FILE = 256 * 2**20  # bytes; a larger file is no image of a dataset


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
            samples.append(Sample(path.relative_to(layout.root).as_posix(), label, partial(read_file, path), path))
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
            elif _is_device(Path(entry.path)) or not counts_as_image(Path(entry.path)):
                others.append(entry.name)
            else:
                images.append(Path(entry.path))
    return images, others, deeper


def read_file(path: Path) -> bytes:
    """The bytes of an image file; raises OSError, or ValueError for one of absurd size."""
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"{size:,} bytes are more than {LARGEST_FILE:,}")
    return path.read_bytes()


def _is_device(path: Path) -> bool:
    """A pipe, socket or device: opening one may block for ever. A broken link is none: reading it fails by itself."""
    return path.exists() and not path.is_file()
