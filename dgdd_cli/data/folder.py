"""The image files of one domain of a folder set, in the order of their names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dgdd_cli.data.decode import Sample, is_image
from dgdd_cli.data.layout import Layout, entries, is_folder, listed
from dgdd_cli.errors import DataError

# Companions of images. They are looked into before they are left out, as no name is trusted; any other file that is no
# image counts as a corrupt one.
_SUFFIXES = (
    ".txt .csv .tsv .json .jsonl .xml .yaml .yml .toml .md .rst .html .htm .pdf .py .ipynb .m .mat .npy .npz .pt .pth "
    ".pkl .h5 .hdf5 .zip .tar .gz .tgz .7z .rar .log .ini .cfg .db .parquet .mp4 .avi .mov .wav .url .lnk .bak"
)
COMPANIONS = frozenset(_SUFFIXES.split())

LARGEST_FILE = 256 * 2**20  # bytes; a larger file is no image of a dataset
HEAD = 64 * 2**10  # bytes that tell an image from another file


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
            raise DataError(
                f"{folder} holds folders ({listed(deeper)}) instead of images: a level too many",
                hint=f"expected {layout.root}/<domain>/<class>/<image>; move the images up one level",
            )
        left_out += others
        nested += [str(Path(folder.name) / d) for d in deeper]
        for path in files:
            samples.append(Sample(path.relative_to(layout.root).as_posix(), label, partial(read_file, path)))
    if not samples:
        raise DataError(
            f"the domain {domain!r} in {layout.root} holds no image",
            hint=f"expected {layout.root}/<domain>/<class>/<image>",
        )
    notes = []
    if left_out:
        notes.append(f"{domain}: left out {_files_counted(left_out)} that are no images: {listed(left_out)}")
    if nested:
        notes.append(f"{domain}: left out folders inside class folders: {listed(nested)}")
    return samples, tuple(notes)


def _files(folder: Path) -> tuple[list[Path], list[str], list[str]]:
    images: list[Path] = []
    others: list[str] = []
    deeper: list[str] = []
    for entry in entries(folder):
        path = Path(entry.path)
        if is_folder(entry):
            deeper.append(entry.name)
        elif _is_device(path) or (path.suffix.lower() in COMPANIONS and not is_image(partial(_head, path))):
            others.append(entry.name)
        else:
            images.append(path)
    return images, others, deeper


def read_file(path: Path) -> bytes:
    """The bytes of an image file; raises OSError, or ValueError for one of absurd size."""
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"{size:,} bytes are more than {LARGEST_FILE:,}")
    return path.read_bytes()


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _is_device(path: Path) -> bool:
    """A pipe, socket or device: opening one may block for ever. A broken link is none: reading it fails by itself."""
    return path.exists() and not path.is_file()


def _files_counted(names: Sequence[str]) -> str:
    return f"{len(names)} file" if len(names) == 1 else f"{len(names)} files"
