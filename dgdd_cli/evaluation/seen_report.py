"""What is said of targets whose images a training set was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dgdd_cli.data.layout import listed
from dgdd_cli.errors import DataError
from dgdd_cli.evaluation.contestant import Contestant
from dgdd_cli.evaluation.seen import IN_DOMAIN, PARTLY, Seen
from dgdd_cli.evaluation.targets import Target
from dgdd_cli.text import plural


def report_seen(
    found: Mapping[tuple[str, str], Seen],
    targets: Sequence[Target],
    contestants: Sequence[Contestant],
    *,
    allow_seen: bool,
    warn: Callable[[str], None],
) -> None:
    """Warn of targets that are no unseen ones though no source has their name.

    Raises DataError for a target of which every image is a source's, unless `allow_seen`.
    """
    warnings: dict[str, str] = {}  # what is the same for several contestants is said of the first
    for target in (target for target in targets if target.corruption is None):
        for contestant in (c for c in contestants if target.name not in c.sources):
            seen = found[contestant.name, target.name]
            if seen.setting == IN_DOMAIN:
                line = _every(target, seen)
                if not allow_seen:
                    raise DataError(f"{line} of {contestant.name}", hint="--allow-seen tests on it and says in-domain")
                warnings.setdefault(line, f"of {contestant.name}: it is reported as in-domain")
            elif seen.setting == PARTLY:
                files = f" ({listed(seen.files)})" if seen.files else ""
                warnings.setdefault(_some(target, seen), f"of {contestant.name}{files}: it is reported as partly seen")
    for line, outcome in warnings.items():
        warn(f"{line} {outcome}")


def what_was_compared(found: Mapping[tuple[str, str], Seen], contestants: Sequence[Contestant]) -> list[str]:
    """One line for the sources whose images were compared with targets, and one for each set of other sources."""
    by_image: dict[str, None] = {}
    as_a_whole: dict[tuple[str, ...], str] = {}  # with the first contestant of which that holds
    for contestant in contestants:
        for (name, target), seen in found.items():
            if name != contestant.name or target in contestant.sources:
                continue
            by_image |= dict.fromkeys(seen.by_image)
            if rest := tuple(source for source in contestant.sources if source not in seen.by_image):
                as_a_whole.setdefault(rest, name)
    lines = [f"targets compared image by image with the sources {', '.join(by_image)}"] if by_image else []
    return lines + [
        f"targets compared as whole domains only with the sources {', '.join(rest)} of {name}: "
        "what it was made from is not at hand"
        for rest, name in as_a_whole.items()
    ]


def _every(target: Target, seen: Seen) -> str:
    images = plural(len(target.dataset), "image")
    if seen.identical_to:
        return f"the target {target.name!r} ({images}) is identical to the source {listed(seen.identical_to)}"
    return f"the target {target.name!r} ({images}) has every image shared with {_sources(seen)}"


def _some(target: Target, seen: Seen) -> str:
    count = f"{len(seen.rows):,} of its {plural(len(target.dataset), 'image')}"
    return f"the target {target.name!r} has {count} shared with {_sources(seen)}"


def _sources(seen: Seen) -> str:
    return f"the source{'' if len(seen.shared_with) == 1 else 's'} {listed(tuple(seen.shared_with))}"
