"""What a reader of datasets is: whether a place is its own, and what lies there, before any image is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dgdd_cli.data.catalog import CatalogEntry
from dgdd_cli.errors import DataError
from dgdd_cli.progress import Progress
from dgdd_cli.text import check_name, printable

if TYPE_CHECKING:
    from torch import Tensor

    from dgdd_cli.data.decode import Sample

Samples = tuple["Sequence[Sample]", tuple[str, ...]]  # of a domain in their order, and notes on what was left out
Drawn = tuple["Tensor", "Tensor", "Tensor"]  # images uint8 (N, 3, H, W), labels and domain indices int64 (N,)


@dataclass(frozen=True, slots=True)
class Contents:
    """Domains and classes in index order, and the samples of a domain by its name: what is read, and its bytes, are
    known when they are asked for. `draw`: domains and a size to images, of a set that is drawn and has no samples.

    Raises DataError for names that cannot be shown or come twice, and where there are none.
    """

    domain_names: tuple[str, ...]
    class_names: tuple[str, ...]
    samples: Callable[[str], Samples] = lambda domain: ((), ())
    notes: tuple[str, ...] = ()
    draw: Callable[[Sequence[str], int, Progress], Drawn] | None = None

    def __post_init__(self) -> None:
        for what, names in (("domain", self.domain_names), ("class", self.class_names)):
            if not names:
                raise DataError(f"the dataset has no {what}", hint="it takes images of a domain and a class each")
            for name in names:
                try:
                    check_name(name)
                except ValueError as error:
                    raise DataError(f"the {what} {printable(name)!r} {error}", hint=f"rename the {what}") from error
            if len(set(names)) < len(names):
                twice = next(name for place, name in enumerate(names) if name in names[:place])
                raise DataError(f"the {what} {twice!r} comes twice", hint="give every name once")


@dataclass(frozen=True, slots=True)
class Reader:
    """One way that datasets lie on disk: one file and its entry in READERS.

    `claims` says whether a place is this reader's, and costs little. Its second argument is the catalog's entry of the
    set that is looked for there, None for a set of the user's own. `contents` raises DataError for a place that is
    claimed but ill-formed. Bytes come from `files.sample_of`, limits and damage are looked after by whoever decodes.
    """

    claims: Callable[[Path, CatalogEntry | None], bool]
    contents: Callable[[Path, CatalogEntry | None], Contents]
