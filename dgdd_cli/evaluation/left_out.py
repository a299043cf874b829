"""What bundles left out of their sources for validation, found again by their seed and checked by hash."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dgdd_cli.bundle.read import Bundle
from dgdd_cli.data.entries import listed
from dgdd_cli.data.images import Images
from dgdd_cli.data.validation import Split, split_validation
from dgdd_cli.errors import DataError, UsageError


def left_out_of(bundles: Sequence[Bundle], load: Callable[[Sequence[str]], Images]) -> Images:
    """The images that all of the bundles left out.

    Raises UsageError for a bundle that left none out, and for bundles that left others out; DataError where the sources
    are not those that they were made from.
    """
    without = [str(bundle.path) for bundle in bundles if bundle.manifest.validation is None]
    if without:
        raise UsageError(f"{listed(without)} left no images out for validation", hint="dgdd distill ... --validate 0.2")
    if len({(bundle.manifest.domains, bundle.manifest.validation) for bundle in bundles}) > 1:
        raise UsageError("the bundles left different images out", hint="evaluate them in separate calls")
    first = bundles[0]
    return _split(first, load(first.manifest.domains)).held


def made_from(bundle: Bundle, sources: Images) -> tuple[Images, str]:
    """The images of the sources that a bundle was distilled from, and what was left out of them, in words."""
    if bundle.manifest.validation is None:
        return sources, ""
    return _split(bundle, sources).kept, f"; without the validation images of seed {bundle.manifest.seed}"


def _split(bundle: Bundle, sources: Images) -> Split:
    manifest = bundle.manifest
    assert manifest.validation is not None
    split = split_validation(sources, manifest.validation.share, manifest.seed)
    if split.digest() != manifest.validation.sha256:
        raise DataError(
            f"the sources at hand are not those of {bundle.path}: other images would be left out of them",
            hint="--dataset NAME_OR_FOLDER names the data that it was distilled from",
        )
    return split
