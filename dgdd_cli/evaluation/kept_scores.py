"""Scores of trained baselines kept in the cache folder, one small JSON file for each repeat and target.

A file is named by what was asked for (`choices`: baseline, protocol, seed, repeat ...) and by what the answer further
depends on (`facts`: fingerprints, device type, software). Reading trusts nothing: a file that is not exactly what was
written for these choices and facts counts as absent, and that is said.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, JsonValue
from torch import Tensor

from dgdd_cli.bundle.manifest import Block, Sha256, parse
from dgdd_cli.errors import DgddError
from dgdd_cli.evaluation.contestant import Contestant
from dgdd_cli.evaluation.metrics import Score
from dgdd_cli.evaluation.shelf import Shelf, TargetFacts
from dgdd_cli.storage.atomic import write_atomically
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


def recall(
    shelf: Shelf, contestant: Contestant, network: str, repeats: Iterable[int]
) -> dict[int, Mapping[str, Score]]:
    """The kept scores of the repeats that have one for every target; nothing for a bundle.

    Says which files are unreadable, and which baseline has scores of other images or software only.
    """
    if contestant.source is None or shelf.retrain:
        return {}
    found: dict[int, Mapping[str, Score]] = {}
    for repeat in repeats:
        scores = {}
        for target in shelf.targets:
            score = _read(shelf, contestant, network, repeat, target)
            if score is None:
                break
            scores[target] = score
        else:
            found[repeat] = scores
    return found


def keep(shelf: Shelf, contestant: Contestant, network: str, repeat: int, scores: Mapping[str, Score]) -> None:
    """Write the scores of one repeat; a disk that does not take them is a warning."""
    if contestant.source is None:
        return
    for target, score in scores.items():
        choices, facts = _key(shelf, contestant, network, repeat, target)
        body = {"choices": choices, "facts": facts, "score": _stored(score, shelf.targets[target])}
        text = canonical_json({"schema": "dgdd.baseline/1", **body, "sha256": _sha256(body)})
        path = _path(shelf, choices, facts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text.encode(), overwrite=True)
        except (DgddError, OSError) as error:
            _once(shelf, shelf.warn, f"the scores of baselines cannot be kept: {error}")


def _key(
    shelf: Shelf, contestant: Contestant, network: str, repeat: int, target: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    own = shelf.targets[target]
    choices = {
        **shelf.choices,
        **own.choices,
        "baseline": contestant.method,
        "sources": list(contestant.sources),
        "images": contestant.images,
        "epochs": contestant.epochs,
        "mean": list(contestant.normalisation.mean),
        "std": list(contestant.normalisation.std),
        "network": network,
        "repeat": repeat,
    }
    return choices, {**shelf.facts, **own.facts, "source": contestant.source}


def _path(shelf: Shelf, choices: dict[str, Any], facts: dict[str, Any]) -> Path:
    return shelf.folder / "baselines" / f"{_sha256(choices)[:32]}-{_sha256(facts)[:32]}.json"


def _read(shelf: Shelf, contestant: Contestant, network: str, repeat: int, target: str) -> Score | None:
    choices, facts = _key(shelf, contestant, network, repeat, target)
    path = _path(shelf, choices, facts)
    who = f"{contestant.name} with {network}"
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        if any(path.parent.glob(f"{_sha256(choices)[:32]}-*.json")):
            _once(shelf, shelf.note, f"{who}: the kept scores are of other images, groups or software; rebuilt")
        return None
    except OSError as error:
        _once(shelf, shelf.warn, f"{who}: {path} cannot be read ({error.strerror}); rebuilt")
        return None
    try:
        return _score(_entry(data, choices, facts), shelf.targets[target])
    except (ValueError, RecursionError) as error:
        _once(shelf, shelf.warn, f"{who}: {path} is not a kept score ({error}); rebuilt")
        return None


def _entry(data: bytes, choices: dict[str, Any], facts: dict[str, Any]) -> Entry:
    if len(data) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    document = strict_json(data.decode())
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    entry = parse(Entry, document)
    body = {key: value for key, value in document.items() if key not in ("schema", "sha256")}
    if entry.sha256 != _sha256(body):
        raise ValueError("its sha256 differs")
    if canonical_json([entry.choices, entry.facts]) != canonical_json([choices, facts]):
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


def _once(shelf: Shelf, say: Callable[[str], None], line: str) -> None:
    if line not in shelf.said:
        shelf.said.add(line)
        say(line)
