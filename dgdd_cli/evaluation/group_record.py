"""What a record says of groups: accuracy of each, the worst, and the mean that gives every group the same weight."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dgdd_cli.evaluation.groups import TargetGroups
from dgdd_cli.evaluation.metrics import Score

SMALL = 25  # images: a group below this is flagged, since one image moves its accuracy by over 4 points


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None for one value) and the values themselves."""
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


def record_groups(scores: Sequence[Score], target: str, groups: TargetGroups) -> dict[str, Any]:
    """The groups that have images of this target: means over repeats; for clusters the minimum of each repeat too.

    `adjusted_accuracy` is the unweighted mean over groups. A group of fewer than 25 images is `small`.
    """
    sizes = torch.bincount(groups.members[target], minlength=len(groups.names)).tolist()
    present = [g for g, size in enumerate(sizes) if size]
    rows = [_row(groups.names[g], sizes[g], statistics.fmean(float(s.per_group[g]) for s in scores)) for g in present]
    document = {
        "groups": rows,
        "worst_group": _worst(rows),
        "adjusted_accuracy": spread([float(s.per_group[present].mean()) for s in scores]),
    }
    if groups.clustered:
        document["cluster_min"] = spread([float(s.per_group[present].min()) for s in scores])
    return document


def summarise_groups(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Worst group and unweighted mean over the groups of all targets; images of one group are pooled over targets."""
    if any("groups" not in entry for entry in entries):
        return {}
    images: dict[str, int] = {}
    right: dict[str, list[float]] = {}
    for row in (row for entry in entries for row in entry["groups"]):
        images[row["group"]] = images.get(row["group"], 0) + row["images"]
        right.setdefault(row["group"], []).append(row["accuracy"] * row["images"])
    rows = [_row(name, size, math.fsum(right[name]) / size) for name, size in images.items()]
    return {"worst_group": _worst(rows), "adjusted_accuracy": statistics.fmean(row["accuracy"] for row in rows)}


def _row(name: str, images: int, accuracy: float) -> dict[str, Any]:
    return {"group": name, "images": images, "accuracy": accuracy, "small": images < SMALL}


def _worst(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return min(rows, key=lambda row: row["accuracy"])
