"""What a study is of: recipes, targets, seeds and a protocol; and where each of its cells is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgdd_cli.errors import UsageError
from dgdd_cli.text import canonical_json

SCHEMA = "dgdd.study/1"
NAMES_OF_KEYS = ("method", "factor", "codec", "validate", "steps", "probes", "risk", "groups", "cvar_tail", "settings")


@dataclass(frozen=True, slots=True)
class Plan:
    """A study, whole. `recipes`: keywords of `distill` by the name that tables give them."""

    dataset: str
    recipes: Mapping[str, Mapping[str, Any]]
    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    ipc: int
    image_size: int
    repeats: int
    baselines: tuple[str, ...]
    protocol: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """The plan as plain values: what decides every figure, but for data and software."""
        return {
            "schema": SCHEMA,
            "dataset": self.dataset,
            "recipes": {name: dict(keys) for name, keys in self.recipes.items()},
            "targets": list(self.targets),
            "seeds": list(self.seeds),
            "ipc": self.ipc,
            "image_size": self.image_size,
            "repeats": self.repeats,
            "baselines": list(self.baselines),
            "protocol": dict(self.protocol),
        }


def recipes_of(recipes: Sequence[str] | Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Recipes by name from names of methods, or from keywords of `distill` by name. Raises UsageError."""
    if not isinstance(recipes, Mapping):
        recipes = {name: {"method": name} for name in recipes}
    if not recipes:
        raise UsageError("a study compares recipes, and none is named", hint='recipes=["dm-balanced", "sgs"]')
    found = {}
    for name, keys in recipes.items():
        if unknown := sorted(set(keys) - set(NAMES_OF_KEYS)):
            raise UsageError(
                f"the recipe {name!r} has the key {unknown[0]!r}: the study sets what is not of a recipe",
                hint=f"keys of a recipe: {', '.join(NAMES_OF_KEYS)}",
            )
        found[name] = {"method": name, **keys}
    return found


def cell_path(folder: Path, plan: Plan, name: str, target: str, seed: int) -> Path:
    """The bundle of a cell: its name tells people which, its digest tells what it was made with."""
    made_with = {"dataset": plan.dataset, "recipe": plan.recipes[name], "ipc": plan.ipc, "image_size": plan.image_size}
    return folder / f"{_plain(name)}-{_plain(target)}-{seed}-{_digest(made_with)}.safetensors"


def record_path(folder: Path, plan: Plan, target: str, seed: int, ids: Sequence[str]) -> Path:
    """The record of the evaluation of one target and seed, of bundles with these ids."""
    about = {"ids": list(ids), "repeats": plan.repeats, "baselines": list(plan.baselines), "protocol": plan.protocol}
    return folder / f"evaluation-{_plain(target)}-{seed}-{_digest(about)}.json"


def _digest(document: object) -> str:
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()[:8]


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)[:60]
