"""The score of one repeat of a trained baseline on one target, as a small JSON file that is read without any trust."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, JsonValue
from torch import Tensor

from dgdd_cli.bundle.manifest import Block, Sha256, parse
from dgdd_cli.evaluation.metrics import Score
from dgdd_cli.storage.cache import Key
from dgdd_cli.text import canonical_json, strict_json

LARGEST = 2**20  # bytes; scores of a thousand groups are under 50 kB

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Loss = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class StoredScore(Block):
    """A Score as JSON: a class without images has no accuracy (null), and of the groups only those with images count.

    So a score does not depend on what other targets were evaluated with it, nor on their order.
    """

    accuracy: Share
    per_class: tuple[Share | None, ...]
    ece: Share
    loss_cvar: Loss
    per_group: tuple[Share, ...]


class Entry(Block):
    """One file: the score of one repeat on one target, and everything that it depends on."""

    schema_name: Literal["dgdd.baseline/1"] = Field(alias="schema")
    choices: dict[str, JsonValue]
    facts: dict[str, JsonValue]
    score: StoredScore
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What a score on one target depends on, and whose accuracies it holds."""

    choices: Mapping[str, Any]
    facts: Mapping[str, Any]
    class_sizes: Tensor  # (C,) int64
    group_sizes: Tensor  # (G,) int64
    present: Tensor  # (P,) int64: the groups with images, in the order in which their accuracies are kept


def write_score(path: Path, score: Score, key: Key, target: TargetFacts) -> None:
    """Write the score of `key`; raises OSError."""
    body = {**key.document(), "score": _stored(score, target)}
    path.write_text(canonical_json({"schema": "dgdd.baseline/1", **body, "sha256": _sha256(body)}), encoding="utf-8")


def read_score(path: Path, key: Key, target: TargetFacts) -> Score:
    """The score of `key`; raises OSError, and ValueError for a file that is not exactly what was written for it."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    return _score(_entry(data, key), target)


def _entry(data: bytes, key: Key) -> Entry:
    if len(data) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    document = strict_json(data.decode())
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    entry = parse(Entry, document)
    body = {key: value for key, value in document.items() if key not in ("schema", "sha256")}
    if entry.sha256 != _sha256(body):
        raise ValueError("its sha256 differs")
    if canonical_json({"choices": entry.choices, "facts": entry.facts}) != canonical_json(key.document()):
        raise ValueError("it was made for something else")
    return entry


def _score(entry: Entry, target: TargetFacts) -> Score:
    """The stored score; raises ValueError where it does not fit the target's classes and groups."""
    stored = entry.score
    per_class = _shares("class", stored.per_class, target.class_sizes, stored.accuracy)
    per_group = torch.full(target.group_sizes.shape, math.nan, dtype=torch.float64)
    own = target.group_sizes[target.present]
    per_group[target.present] = _shares("group", stored.per_group, own, stored.accuracy)
    return Score(stored.accuracy, per_class, stored.ece, stored.loss_cvar, per_group)


def _shares(what: str, stored: Sequence[float | None], sizes: Tensor, accuracy: float) -> Tensor:
    """Stored accuracies of parts with `sizes` images, float64 (K,); raises ValueError where the two do not fit."""
    if [share is None for share in stored] != (sizes == 0).tolist():
        raise ValueError(f"it does not have one accuracy for each {what} with images")
    shares = torch.tensor([math.nan if share is None else share for share in stored], dtype=torch.float64)
    if len(sizes):
        mean = float((shares.nan_to_num() * sizes).sum() / sizes.sum())
        if abs(mean - accuracy) > 1e-6:
            raise ValueError(f"its accuracy is not the mean over each {what}")
    return shares


def _stored(score: Score, target: TargetFacts) -> dict[str, Any]:
    return {
        "accuracy": score.accuracy,
        "per_class": [None if math.isnan(share) else share for share in score.per_class.tolist()],
        "ece": score.ece,
        "loss_cvar": score.loss_cvar,
        "per_group": score.per_group[target.present].tolist(),
    }


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
