"""Which domains are distilled from and which one is held out, and whether the cells allow it."""

from __future__ import annotations

from collections.abc import Sequence

from dgdd_cli.data.entries import listed
from dgdd_cli.data.images import Images
from dgdd_cli.data.locate import Located, resolve_domain, resolve_domains
from dgdd_cli.errors import DataError, UnknownName, UsageError

VALIDATION = "validation"


def split_domains(located: Located, target: str | None) -> tuple[tuple[str, ...], str | None]:
    """The source domains and the canonical target; None or "none" holds nothing out.

    Raises UnknownName for an unknown domain, UsageError for several, when holding the target out leaves no source, and
    for "none" where a domain has that name. One source is enough here: what learns from how domains differ asks for
    two itself.
    """
    names = located.domain_names
    if target is None or is_none(located, target):
        return names, None
    held_out = _one_domain(located, target)
    sources = tuple(name for name in names if name != held_out)
    if not sources:
        raise UsageError(
            f"{held_out!r} is the only domain of {located.name}: holding it out leaves nothing to distil from",
            hint="--target none distils from all domains",
        )
    return sources, held_out


def is_none(located: Located, target: str) -> bool:
    """Whether `target` is the word that names no domain. Raises UsageError where a domain has that name too."""
    if target.casefold() != "none":
        return False
    same = [name for name in located.domain_names if name.casefold() == "none"]
    if same:
        raise UsageError(
            f"--target {target} names no domain, but {located.name} has one that is called {same[0]!r}",
            hint=f"--target {target_of(same[0])} names that domain\nrename its folder to hold no domain out",
        )
    return True


def target_of(held_out: str | None) -> str:
    """How `--target` names a domain, or none: what `split_domains` reads back."""
    if held_out is None:
        return "none"
    return f"./{held_out}" if held_out.casefold() == "none" else held_out


def without_validation(located: Located, targets: Sequence[str]) -> tuple[list[str], bool]:
    """The targets without the word `validation`, which names no domain, and whether it was there.

    Raises UsageError where a domain has that name too.
    """
    rest, found = [], False
    for text in targets:
        words = [word for word in text.split(",") if word.strip().casefold() == VALIDATION]
        if not words or text in located.domain_names:
            rest.append(text)
            continue
        if same := [name for name in located.domain_names if name.casefold() == VALIDATION]:
            raise UsageError(
                f"--target {VALIDATION} names what a bundle left out, and {located.name} has a domain {same[0]!r}",
                hint=f"--target ./{same[0]} names that domain",
            )
        found = True
        others = [word for word in text.split(",") if word not in words]
        rest += [",".join(others)] if others else []
    return rest, found


def _one_domain(located: Located, target: str) -> str:
    try:
        return resolve_domain(located, target)
    except UnknownName:
        if "," not in target:
            raise
    names = resolve_domains(located, target)
    raise UsageError(f"--target holds out one domain, not {len(names)}: {target!r}", hint="distil once for each target")


def one_class(dataset: Images) -> tuple[str, ...]:
    """A warning line where there is nothing to tell apart."""
    if len(dataset.class_names) != 1:
        return ()
    return (
        f"{dataset.name} has one class only ({dataset.class_names[0]!r}): every answer is right, so an accuracy of "
        "100 % means nothing; expected <domain>/<class>/<image> with several classes",
    )


def check_cells(source: Images) -> tuple[str, ...]:
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


def missing_classes(dataset: Images) -> tuple[str, ...]:
    """The classes without a single image, in index order."""
    per_class = dataset.counts().sum(1)  # (C,)
    return tuple(name for name, n in zip(dataset.class_names, per_class.tolist(), strict=True) if n == 0)
