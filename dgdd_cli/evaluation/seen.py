"""Whether a target's images are among those that a training set was made from, by pixels, and what is said of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dgdd_cli.data.images import Images
from dgdd_cli.data.layout import listed
from dgdd_cli.data.locate import Located
from dgdd_cli.data.shared_images import file_names, image_hashes
from dgdd_cli.errors import DataError
from dgdd_cli.evaluation.contestant import Contestant
from dgdd_cli.evaluation.targets import Target
from dgdd_cli.text import plural

log = logging.getLogger("dgdd")

UNSEEN = "unseen domain"
PARTLY = "partly seen (shared images)"
IN_DOMAIN = "in-domain (images it was made from)"  # there is no split of a source: its images served the making
LEFT_OUT = "validation"  # images of its sources that were left out of it
OTHER_IMAGES = "in-domain (other images)"  # a source of the bundle, but another copy of it is tested


@dataclass(frozen=True, slots=True)
class AtHand:
    """A domain of the dataset that is tested on: its fingerprint, and the hash of each image, int64 (N,)."""

    fingerprint: str
    hashes: Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """What comparing a target with the sources of a training set found.

    `rows`: the target's images that are among the sources', int64 (M,); `shared_with`: how many with which source.
    `identical_to`: the sources that have the target's fingerprint. `by_image` and `by_domain`: the sources that were
    compared image by image, and as a whole. `files`: what the rows of a partly seen target are called, where known.
    """

    setting: str
    rows: Tensor
    shared_with: Mapping[str, int]
    identical_to: tuple[str, ...]
    by_image: tuple[str, ...]
    by_domain: tuple[str, ...]
    files: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The plain values of a record; `images` is None where no image could be compared."""
        return {
            "images": len(self.rows) if self.identical_to or self.by_image else None,
            "files": list(self.files),
            "shared_with": dict(self.shared_with),
            "identical_to": list(self.identical_to),
            "compared_by_image": list(self.by_image),
            "compared_by_domain": list(self.by_domain),
        }


def seen_of(
    contestant: Contestant, target: Target, at_hand: Mapping[str, AtHand], hashes: Tensor | None = None
) -> Seen:
    """Compare a target with each source: as a whole by fingerprint, and image by image where it is at hand as it was.

    `hashes` are those of the target's images. What is a source by name is in-domain, and not compared by image.
    """
    known = contestant.fingerprints
    named = target.name in contestant.sources
    identical = tuple(name for name in contestant.sources if known.get(name) == target.fingerprint)
    found: dict[str, Tensor] = {}
    if hashes is not None and not named:
        here = {name: at_hand[name] for name in contestant.sources if name in at_hand}
        as_it_was = {name: source for name, source in here.items() if source.fingerprint == known.get(name)}
        found = {name: torch.isin(hashes, source.hashes) for name, source in as_it_was.items()}
    among = torch.full((len(target.dataset),), bool(identical))
    for hits in found.values():
        among |= hits
    if named:
        setting = IN_DOMAIN if identical or target.name not in known else OTHER_IMAGES
    else:
        setting = IN_DOMAIN if among.all() else PARTLY if among.any() else UNSEEN
    return Seen(
        setting=setting,
        rows=among.nonzero().squeeze(1),
        shared_with={name: int(hits.sum()) for name, hits in found.items() if hits.any()},
        identical_to=identical,
        by_image=tuple(found),
        by_domain=tuple(name for name in contestant.sources if name in known),
    )


def compare_with_sources(
    contestants: Sequence[Contestant],
    targets: Sequence[Target],
    located: Located,
    load: Callable[[Sequence[str]], Images],
) -> dict[tuple[str, str], Seen]:
    """What every contestant has seen of every target, by the names of the two.

    A source is at hand if the dataset that is tested on has it and it can be read, which is tried only where a target
    is no source by name. One source is in memory at a time, and each image is hashed once.
    """
    clean = {target.name: target for target in targets if target.corruption is None and not target.validation}
    wanted = {
        name for c in contestants if any(target not in c.sources for target in clean) for name in c.sources
    } & set(located.domain_names)
    at_hand: dict[str, AtHand] = {}
    for name in sorted(wanted):
        try:
            source = clean[name].dataset if name in clean else load((name,))
        except DataError:
            continue
        at_hand[name] = AtHand(source.domain_fingerprints()[name], image_hashes(source))
    hashes = {name: image_hashes(target.dataset) for name, target in clean.items() if at_hand}
    found = {}
    for name, target in clean.items():
        for contestant in contestants:
            seen = seen_of(contestant, target, at_hand, hashes.get(name))
            if seen.setting == PARTLY:
                seen = replace(seen, files=file_names(located.contents, name, seen.rows, len(target.dataset)))
            found[contestant.name, name] = seen
    nothing = Seen(LEFT_OUT, torch.empty(0, dtype=torch.int64), {}, (), (), ())
    left_out = [target.name for target in targets if target.validation]
    return found | {(contestant.name, name): nothing for contestant in contestants for name in left_out}


def report_seen(
    found: Mapping[tuple[str, str], Seen],
    targets: Sequence[Target],
    contestants: Sequence[Contestant],
    *,
    allow_seen: bool,
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
        log.warning("%s %s", line, outcome)


def report_compared(found: Mapping[tuple[str, str], Seen], contestants: Sequence[Contestant]) -> None:
    """Note, one line for the sources whose images were compared with targets, and one for each set of other sources."""
    by_image: dict[str, None] = {}
    as_a_whole: dict[tuple[str, ...], str] = {}  # with the first contestant of which that holds
    for contestant in contestants:
        for (name, target), seen in found.items():
            if name != contestant.name or target in contestant.sources or seen.setting == LEFT_OUT:
                continue
            by_image |= dict.fromkeys(seen.by_image)
            if rest := tuple(source for source in contestant.sources if source not in seen.by_image):
                as_a_whole.setdefault(rest, name)
    if by_image:
        log.info("targets compared image by image with the sources %s", ", ".join(by_image))
    for rest, name in as_a_whole.items():
        log.info(
            "targets compared as whole domains only with the sources %s of %s: what it was made from is not at hand",
            ", ".join(rest),
            name,
        )


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
