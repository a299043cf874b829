"""The baseline of bytes: as many real images as fit a budget as JPEG, which is what a sceptic would store instead."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dgdd_cli.bundle.read import Bundle
from dgdd_cli.config import Protocol
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.held import Held
from dgdd_cli.data.images import Images
from dgdd_cli.errors import UsageError
from dgdd_cli.evaluation.contestant import Contestant, TrainingSet
from dgdd_cli.runtime.context import Context
from dgdd_cli.synthesis.initial import deal
from dgdd_cli.synthesis.labels import Labels
from dgdd_cli.text import plural

QUALITY = 75
LABEL = 8  # bytes of a class, int64


@dataclass(frozen=True, slots=True, eq=False)
class JpegImages:
    """Real images as JPEG decodes them: uint8 (N, 3, H, W), their rows in the source set, and the bytes of files and
    labels from the first image to each, int64 (N,)."""

    images: Tensor
    rows: Tensor
    filled: Tensor


def jpegs_within(context: Context, source: Images, budget: int, repeat: int) -> JpegImages:
    """The first images of a balanced order whose files and labels fit `budget` bytes.

    Classes take turns, and in each its domains; every repeat has an order of its own.
    """
    generator = context.stream("baseline", "random-jpeg", repeat)
    images, rows, filled, total = [], [], [], 0
    for row in _in_turn(source, generator):
        file = _file_of(source.at(torch.tensor([row]))[0])
        total += len(file) + LABEL
        if total > budget:
            break
        with Image.open(io.BytesIO(file)) as image:
            images.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
        rows.append(row)
        filled.append(total)
    size = source.image_size
    stacked = torch.stack(images) if images else torch.empty(0, 3, size, size, dtype=torch.uint8)
    return JpegImages(stacked, torch.tensor(rows, dtype=torch.int64), torch.tensor(filled, dtype=torch.int64))


def jpeg_contestant(
    context: Context,
    source: Images,
    bundle: Bundle,
    *,
    repeats: int,
    normalisation: Normalisation,
    protocol: Protocol,
    left_out: str = "",
    fingerprints: Mapping[str, str] | None = None,
) -> Contestant:
    """Real images as JPEG in the bytes of a bundle; all repeats have as many as the one into which the fewest fit.

    A student takes as many steps as on the bundle's stored images, or one epoch's over its own with
    `pace = "training"`. Raises UsageError where fewer images fit than there are classes.
    """
    budget = bundle.training_bytes
    sets = [jpegs_within(context, source, budget, repeat) for repeat in range(repeats)]
    count, classes = min(len(own.rows) for own in sets), len(source.class_names)
    if count < classes:
        raise UsageError(
            f"the {budget:,} bytes of {bundle.path} hold {plural(count, 'JPEG')}, and there are {classes} classes",
            hint="leave random-jpeg out of --baseline",
        )

    def draw(repeat: int) -> TrainingSet:
        rows = sets[repeat].rows[:count]
        images = Held(sets[repeat].images[:count])
        return TrainingSet(images, Labels("hard", source.labels[rows]), source.domains[rows])

    domains = ", ".join(source.domain_names)
    return Contestant(
        name=f"random-jpeg ({plural(count, 'image')} in {budget:,} bytes; {domains}{left_out})",
        method="random-jpeg",
        kind="baseline",
        sources=source.domain_names,
        normalisation=normalisation,
        epochs=protocol.epochs,
        images=count,
        stored=count,
        stored_bytes=max(int(own.filled[count - 1]) for own in sets),
        pace=len(bundle) if protocol.pace == "stored" else count,
        draw=draw,
        fingerprints=fingerprints or source.domain_fingerprints(),
        source=source.fingerprint(),
        budget=budget,
    )


def _in_turn(source: Images, generator: torch.Generator) -> Iterator[int]:
    """All rows, one of each class in turn; a class deals its domains in turn, the first of them rotating by class."""
    dealt: list[Sequence[int]] = []
    for label in range(len(source.class_names)):
        own = source.labels == label
        cells = [(own & (source.domains == d)).nonzero().squeeze(1) for d in range(len(source.domain_names))]
        dealt.append(deal(cells, int(own.sum()), label, generator))
    for turn in range(max(map(len, dealt))):
        yield from (rows[turn] for rows in dealt if turn < len(rows))


def _file_of(image: Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
