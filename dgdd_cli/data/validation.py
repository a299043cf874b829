"""A share of every source cell that is left out of distilling, so that settings can be chosen without the target."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.data.arranged import Arranged
from dgdd_cli.data.images import Images
from dgdd_cli.data.shared_images import image_hashes
from dgdd_cli.errors import UsageError
from dgdd_cli.runtime.seeds import stream
from dgdd_cli.text import plural


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The images that are kept, those left out for validation, and the cells that were too small to split, in words."""

    kept: Images
    held: Images
    notes: tuple[str, ...]

    def digest(self) -> str:
        """sha256 (hex) of which images are left out, whatever their order."""
        hashes = image_hashes(self.held).sort().values
        return hashlib.sha256(hashes.contiguous().numpy().tobytes()).hexdigest()


def check_share(share: float) -> None:
    """Raise UsageError for a share that leaves nothing to distil from, or nothing out."""
    if not 0 < share < 1:
        raise UsageError(f"--validate is a share above 0 and below 1, not {share:g}", hint="--validate 0.2")


def split_validation(source: Images, share: float, seed: int) -> Split:
    """Leave a random `share` of every cell out: at least one image of two or more, and never all of them.

    The draw of a cell depends on the seed and the names of its class and domain alone, so a domain is split alike
    whichever others are beside it.
    """
    check_share(share)
    left_out: list[Tensor] = []
    small: list[str] = []
    for c, label in enumerate(source.class_names):
        for d, domain in enumerate(source.domain_names):
            rows = ((source.labels == c) & (source.domains == d)).nonzero().squeeze(1)
            if len(rows) < 2:
                small += [f"{label} in {domain}"] if len(rows) else []
                continue
            count = min(max(1, round(share * len(rows))), len(rows) - 1)
            order = torch.randperm(len(rows), generator=stream(seed, "validation", domain, label))
            left_out.append(rows[order[:count]])
    held = torch.cat(left_out).sort().values if left_out else torch.empty(0, dtype=torch.int64)
    if not len(held):
        raise UsageError("no cell has two images: there is nothing to leave out", hint="leave --validate out")
    kept = torch.ones(len(source), dtype=torch.bool)
    kept[held] = False
    notes: tuple[str, ...] = ()
    if small:
        more = ", ..." if len(small) > 4 else ""
        notes = (f"{plural(len(small), 'cell')} of a single image left whole: {', '.join(small[:4])}{more}",)
    return Split(_some(source, kept.nonzero().squeeze(1)), _some(source, held), notes)


def _some(source: Images, rows: Tensor) -> Images:
    return Arranged((source,), rows, source.labels[rows], source.domains[rows], source.domain_names)
