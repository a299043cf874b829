"""Which domains are distilled from and which one is held out, and whether the cells allow it."""

from __future__ import annotations

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.entries import listed
from dgdd_cli.data.locate import Located, resolve_domain
from dgdd_cli.errors import DataError, UsageError


def split_domains(located: Located, target: str | None) -> tuple[tuple[str, ...], str | None]:
    """The source domains and the canonical target; None or "none" holds nothing out.

    Raises UnknownName for an unknown domain, UsageError when holding the target out leaves no source. One source is
    enough here: what learns from how domains differ asks for two itself.
    """
    names = located.domain_names
    if target is None or target.casefold() == "none":
        return names, None
    held_out = resolve_domain(located, target)
    sources = tuple(name for name in names if name != held_out)
    if not sources:
        raise UsageError(
            f"{held_out!r} is the only domain of {located.name}: holding it out leaves nothing to distil from",
            hint="--target none distils from all domains",
        )
    return sources, held_out


def check_cells(source: DomainDataset) -> tuple[str, ...]:
    """One warning line for each empty cell (class x domain) of the sources; such a cell gets no weight.

    Raises DataError for classes with no image in any source.
    """
    absent = missing_classes(source)
    if absent:
        what = f"the class {absent[0]!r} has" if len(absent) == 1 else f"the classes {listed(absent)} have"
        raise DataError(
            f"{what} no image in any source domain ({', '.join(source.domain_names)})",
            hint="add images, remove the class's folders from every domain, or hold out another domain: --target NAME",
        )
    counts = source.counts()  # (C, D)
    return tuple(
        f"no image of class {source.class_names[c]!r} in domain {source.domain_names[d]!r}: the cell gets no weight"
        for c, d in (counts == 0).nonzero().tolist()
    )


def missing_classes(dataset: DomainDataset) -> tuple[str, ...]:
    """The classes without a single image, in index order."""
    per_class = dataset.counts().sum(1)  # (C,)
    return tuple(name for name, n in zip(dataset.class_names, per_class.tolist(), strict=True) if n == 0)
