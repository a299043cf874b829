"""What tells two runs apart: everything that decides their images, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

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
