"""Where scores of baselines are kept, and what they depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgdd_cli.config import Protocol
from dgdd_cli.evaluation.groups import TargetGroups
from dgdd_cli.evaluation.targets import Target
from dgdd_cli.runtime.software import software

EVALUATOR = 3  # to be raised whenever the same choices and facts train to other scores


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What a score on one target depends on, and whose accuracies it holds."""

    choices: Mapping[str, Any]
    facts: Mapping[str, Any]
    class_sizes: Tensor  # (C,) int64
    group_sizes: Tensor  # (G,) int64
    present: Tensor  # (P,) int64: the groups with images, in the order in which their accuracies are kept


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where scores are kept, and what all scores of one evaluation have in common; `targets` by key, as compared."""

    folder: Path
    choices: Mapping[str, Any]
    facts: Mapping[str, Any]
    targets: Mapping[str, TargetFacts]
    note: Callable[[str], None]
    warn: Callable[[str], None]
    retrain: bool = False
    said: set[str] = field(default_factory=set)  # each thing once, whatever the number of repeats


def common_choices(dataset: str, image_size: int, protocol: Protocol, seed: int, groups: str | None) -> dict[str, Any]:
    """What was asked for, whatever the baseline; the number of epochs is each baseline's own."""
    return {
        "dataset": dataset,
        "image_size": image_size,
        "protocol": protocol.model_dump(mode="json", exclude_none=True, exclude={"epochs", "whole_epochs"}),
        "seed": seed,
        "groups": groups,
    }


def common_facts(device: str) -> dict[str, Any]:
    """What every score further depends on: the device, the threads that share a sum, the software, this trainer."""
    return {"device": device, "threads": torch.get_num_threads(), "software": software(), "evaluator": EVALUATOR}


def target_facts(target: Target, groups: TargetGroups | None) -> TargetFacts:
    """What a score on this target depends on: its images as they are tested, and their groups."""
    none = torch.empty(0, dtype=torch.int64)
    members = none if groups is None else groups.members[target.name]
    return TargetFacts(
        choices={"target": target.name, "corruption": target.corruption},
        facts={
            "target": target.dataset.fingerprint(),
            "groups": None if groups is None else groups.digest(target.name),
        },
        class_sizes=target.dataset.counts().sum(1),
        group_sizes=torch.bincount(members, minlength=0 if groups is None else len(groups.names)),
        present=none if groups is None else groups.present(target.name),
    )
