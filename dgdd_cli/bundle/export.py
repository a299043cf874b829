"""Export a bundle as a folder of PNG files, as torchvision's ImageFolder and Hugging Face's imagefolder read it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
from pathlib import Path

from PIL import Image

from dgdd_cli.bundle.cards import croissant, dataset_card
from dgdd_cli.bundle.exported import CARD, CROISSANT, METADATA, is_empty, stranger_in
from dgdd_cli.bundle.names import class_folders, column_value, file_names
from dgdd_cli.bundle.read import Bundle
from dgdd_cli.errors import DgddError, UsageError
from dgdd_cli.text import typeable

MIXED = "mixed"  # a domain of -1


def export_folder(bundle: Bundle, directory: str | Path, *, overwrite: bool = False) -> Path:
    """Write `<class>/<domain>_<index>.png`, metadata.jsonl, README.md and croissant.json, and return the folder.

    The images are the training images, lossless, and `index` their place in DistilledSet; soft labels are the column
    `soft_label` of metadata.jsonl. Sorted class folders are in the bundle's order of classes, and the folder appears
    whole or not at all. An empty folder is filled; one that holds anything is refused, or with
    `overwrite` replaced when all that it holds is an earlier export and what operating systems leave behind.
    Raises UsageError for a folder that may not be replaced, DgddError when the disk fails.
    """
    directory = Path(directory)
    check_export(directory, overwrite=overwrite)
    target = directory.resolve()
    try:
        temporary = _folder_beside(target)
        try:
            _fill(bundle, temporary)
            _put_in_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DgddError(
            f"cannot export to {directory}: {error.strerror or error}", hint="free some space or choose another place"
        ) from error
    return directory


def check_export(directory: Path, *, overwrite: bool) -> None:
    """Raise UsageError when `directory` may not be written or replaced."""
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is a file, not a folder", hint="name a new folder for --export")
    if not directory.resolve().parent.is_dir():
        raise UsageError(f"the folder above {directory} does not exist", hint=f"mkdir -p {typeable(directory.parent)}")
    if not os.access(directory.resolve().parent, os.W_OK | os.X_OK):
        raise UsageError(f"the folder above {directory} is read-only", hint="name a folder elsewhere for --export")
    if not directory.is_dir() or is_empty(directory):
        return
    if not overwrite:
        raise UsageError(f"the folder {directory} is not empty", hint="add --force to replace an earlier export")
    stranger = stranger_in(directory)
    if stranger is not None:
        raise UsageError(
            f"the folder {directory} holds {stranger}, which is not from an earlier export", hint="name a new folder"
        )


def _folder_beside(target: Path) -> Path:
    for attempt in itertools.count():
        temporary = target.parent / f".dgdd-{os.getpid()}-{attempt}.tmp"
        with contextlib.suppress(FileExistsError):
            temporary.mkdir()
            return temporary
    raise AssertionError("unreachable")


def _fill(bundle: Bundle, folder: Path) -> None:
    manifest = bundle.manifest
    classes = class_folders(manifest.classes)
    domains = file_names([*manifest.domains, MIXED])  # an index of -1 is the last
    label_values, domain_values = [
        [column_value(name) for name in names] for names in (manifest.classes, [*manifest.domains, MIXED])
    ]
    for name in classes:
        (folder / name).mkdir()
    rows = []
    images, labels, in_domains = bundle.labelled()
    for index, (label, domain) in enumerate(zip(labels.classes.tolist(), in_domains.tolist(), strict=True)):
        file_name = f"{classes[label]}/{domains[domain]}_{index:05d}.png"
        pixels = images[index].permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
        Image.fromarray(pixels).save(folder / file_name)
        row = {"file_name": file_name, "label": label_values[label], "domain": domain_values[domain], "index": index}
        row |= {} if labels.soft is None else {"soft_label": labels.soft[index].tolist()}
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    metadata = "".join(rows).encode()
    (folder / METADATA).write_bytes(metadata)
    (folder / CARD).write_text(dataset_card(bundle), encoding="utf-8")
    (folder / CROISSANT).write_text(croissant(bundle, hashlib.sha256(metadata).hexdigest()), encoding="utf-8")


def _put_in_place(temporary: Path, target: Path) -> None:
    old = None
    if target.exists() and any(target.iterdir()):
        old = _folder_beside(target)
        os.replace(target, old)
    try:
        os.replace(temporary, target)
    except OSError:
        if old is not None:
            os.replace(old, target)
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
