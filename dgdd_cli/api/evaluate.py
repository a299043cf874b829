"""`evaluate` from Python: bundles in, accuracies out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgdd_cli.api.reading import assignments, cache_at
from dgdd_cli.bundle.read import Bundle
from dgdd_cli.config import merge, parse_assignments
from dgdd_cli.data.load import Reading
from dgdd_cli.evaluation.run import Request, evaluate_bundles
from dgdd_cli.evaluation.trainers import protocol_of
from dgdd_cli.progress import Progress, silent
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import choose_device


@dataclass(frozen=True, slots=True)
class Result:
    """One training set with one network on one target; `document` is its row in the JSON of `dgdd evaluate`."""

    document: Mapping[str, Any]

    @property
    def accuracy(self) -> float:
        """The mean over repeats, in [0, 1]."""
        return float(self.document["accuracy"]["mean"])

    @property
    def setting(self) -> str:
        """Whether the target was seen: `unseen domain`, `in-domain ...` or `partly seen`."""
        return str(self.document["setting"])

    @property
    def target(self) -> str:
        return str(self.document["target"])

    @property
    def method(self) -> str:
        return str(self.document["method"])

    @property
    def network(self) -> str:
        return str(self.document["network"])

    @property
    def training_images(self) -> int:
        return int(self.document["training_images"])


def evaluate(
    bundle: Bundle | str | Path | Sequence[Bundle | str | Path],
    *,
    target: str | None = None,
    dataset: str | None = None,
    network: str | Sequence[str] = "convnet",
    trainer: str | None = None,
    epochs: int | None = None,
    repeats: int = 5,
    baseline: str | Sequence[str] = (),
    groups: str | None = None,
    corruptions: str | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    data: str | Path | None = None,
    cache_dir: str | Path | None = None,
    device: str = "auto",
    allow_missing_classes: bool = False,
    allow_seen: bool = False,
    retrain_baselines: bool = False,
    skip_corrupt: bool = False,
    offline: bool = False,
    progress: Progress = silent,
) -> list[Result]:
    """Train on bundles and test on domains as `dgdd evaluate` does: one Result a training set, network and target.

    `bundle` is a Bundle, a path, or several of them. Keywords are the flags of the command line; `settings` is `--set`,
    e.g. {"width": 64}. Raises DgddError as the command line exits.
    """
    assigned = parse_assignments(assignments(settings))
    request = Request(
        bundles=[bundle] if isinstance(bundle, Bundle | str | Path) else list(bundle),
        protocol=protocol_of(**merge(assigned, {"epochs": epochs, "trainer": trainer})),
        dataset=dataset,
        data_dir=None if data is None else Path(data),
        targets=[target] if target else [],
        networks=_names(network),
        baselines=_names(baseline),
        groups=groups,
        corruptions=_names(corruptions),
        repeats=repeats,
        allow_missing_classes=allow_missing_classes,
        allow_seen=allow_seen,
        retrain_baselines=retrain_baselines,
        reading=Reading(skip_corrupt, offline),
    )
    context = Context(seed, choose_device(device), cache=cache_at(cache_dir), progress=progress)
    document = evaluate_bundles(context, request)
    return [Result(row) for row in document["results"]]


def _names(given: str | Sequence[str]) -> list[str]:
    if isinstance(given, str):
        return [name.strip() for name in given.split(",") if name.strip()]
    return list(given)
