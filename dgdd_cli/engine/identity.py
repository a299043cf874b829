"""Which run this is: everything that decides its images, by name, so that two runs can be told apart in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from dgdd_cli.config import Distillation
from dgdd_cli.core.dispatch import choose
from dgdd_cli.engine.device import Choice
from dgdd_cli.engine.groups import NAMED, Groups
from dgdd_cli.engine.software import named_arithmetic
from dgdd_cli.text import printable

Identity = Mapping[str, JsonValue]

OF_A_MACHINE = ("processor", "threads")  # of which the ranks of a run may have several
DATA, GROUPS = "data", "groups of images"
_HASHES = {  # whose values say nothing to a reader
    DATA: "the data differ",
    GROUPS: "the groups differ",
    "risk.groups.sha256": "the groups differ",
    "domains.fingerprint": "the pseudo-domains differ",
}
_TOLD = 8


def identify_run(
    run: Distillation,
    *,
    dataset: str,
    fingerprint: str,
    groups: Groups | None,
    chosen: Choice,
    ranks: int,
    kernels: str,
) -> dict[str, JsonValue]:
    """The settings under the names of --set, the data and groups as hashes, and the software and machine that compute.

    `dataset` is its name and `fingerprint` that of the sources; a folder or file that was moved is the same one.
    """
    import torch

    settings = _without_paths(run).model_dump(mode="json", exclude_none=True) | {"dataset": dataset}
    recipe = settings.pop("recipe")
    computed = run.recipe.surgery or run.recipe.risk
    return {
        **dict(flat(settings)),
        **dict(flat(recipe)),
        DATA: fingerprint,
        GROUPS: groups.digest if groups else None,
        "ranks": ranks,
        "kernels": choose(kernels, chosen.device, torch.float32) if computed else None,
        **named_arithmetic(chosen.device),
    }


def differences(was: Identity, now: Identity, words: tuple[str, str] = ("was", "now")) -> list[str]:
    """What tells one run from the other, each in a few words, in the order of `now`; nothing for the same run."""
    found = []
    for key in (*now, *(key for key in was if key not in now)):
        before, after = was.get(key), now.get(key)
        if before != after:
            told = f"{key} {words[0]} {_shown(before)}, {words[1]} {_shown(after)}"
            found.append(_HASHES.get(key, told))
    return found if len(found) <= _TOLD else [*found[:_TOLD], f"{len(found) - _TOLD} more"]


def flat(settings: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Nested settings under dotted names."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(value: JsonValue) -> str:
    return "not given" if value is None else printable(str(value), length=60)


def _without_paths(run: Distillation) -> Distillation:
    """The run without the names of its groups files, whose contents are hashed: a moved file is the same file."""
    risk = run.recipe.risk
    if risk and risk.groups not in NAMED and not risk.groups.startswith("kmeans:"):
        run = run.model_copy(
            update={"recipe": run.recipe.model_copy(update={"risk": risk.model_copy(update={"groups": "file"})})}
        )
    return run.model_copy(update={"domains": "file" if run.domains else None})
