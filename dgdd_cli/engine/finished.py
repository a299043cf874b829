"""Whether a bundle is already the result of a run that is asked for again."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import JsonValue

from dgdd_cli.bundle.manifest import BundleFacts, Manifest
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.runtime.identity import DATA, differences, flat

log = logging.getLogger("dgdd")


def finished_manifest(out: Path, facts: BundleFacts, *, ipc: int, image_size: int, overwrite: bool) -> Manifest | None:
    """The manifest of the bundle at `out`, where it is the result of a run with these facts.

    The log hears of other software or another device that it was made with. Where it is the result of other settings or
    data, or no valid bundle, it is None if it may be overwritten; otherwise UsageError names what differs.
    """
    try:
        manifest = load_bundle(out).manifest
    except DataError as error:
        if overwrite:
            return None
        raise UsageError(
            f"{out} exists already and is no bundle: {error.message}", hint="choose another --out, or add --force"
        ) from error
    was = _asked(manifest, manifest.images.ipc, manifest.images.height)
    if differing := differences(was, _asked(facts, ipc, image_size)):
        if overwrite:
            return None
        raise UsageError(
            f"{out} exists already and is the result of another run: {'; '.join(differing)}",
            hint="choose another --out, or add --force to overwrite it",
        )
    if others := differences(_made_with(manifest), _made_with(facts)):
        log.info("it was made with other software or another device: %s", "; ".join(others))
    return manifest


def same_software(manifest: BundleFacts, facts: BundleFacts) -> bool:
    """Whether both were made with the same software on the same device."""
    return _made_with(manifest) == _made_with(facts)


# Settings that bundles were written without, at what they then were: of all, and of those that match.
ADDED: dict[str, JsonValue] = {"synthesis.name": "pixels", "labels.name": "hard"}
ADDED_TO_MATCHING: dict[str, JsonValue] = {"matching.readout": "features"}


def _asked(facts: BundleFacts, ipc: int, image_size: int) -> dict[str, JsonValue]:
    settings = dict(flat(facts.method.settings))
    before = ADDED | (ADDED_TO_MATCHING if "matching.name" in settings else {})
    return {
        "dataset": facts.source.dataset,
        "target": facts.target,
        "method": facts.method.name,
        "ipc": ipc,
        "image_size": image_size,
        "seed": facts.seed,
        "codec": facts.codec or "raw",
        "validation": facts.validation.share if facts.validation else None,
        **before,
        **settings,
        DATA: facts.source.fingerprint,
    }


def _made_with(facts: BundleFacts) -> dict[str, JsonValue]:
    return {**facts.software, "device": facts.device.name}
