"""The record of an evaluation: plain values that become the JSON document and the table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dgdd_cli.evaluation.compare import Result
from dgdd_cli.evaluation.groups import TargetGroups
from dgdd_cli.evaluation.metrics import Score
from dgdd_cli.evaluation.seen import IN_DOMAIN, OTHER_IMAGES, PARTLY, UNSEEN, Seen, seen_of
from dgdd_cli.evaluation.targets import Target
from dgdd_cli.text import plural

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


def record(
    result: Result, target: Target, *, tail: float, seen: Seen | None = None, groups: TargetGroups | None = None
) -> dict[str, Any]:
    """One result with its per-class, per-cell and per-group accuracies (means over repeats), the worst ones and ECE.

    `balanced_accuracy` is the unweighted mean over the target's classes: where one class has most of the images,
    accuracy is that class's. Without `seen` the fingerprints alone say what was seen.
    """
    contestant = result.contestant
    seen = seen or seen_of(contestant, target, {})
    counts = target.dataset.counts().sum(1).tolist()
    classes = target.dataset.class_names
    present = [c for c, count in enumerate(counts) if count]
    per_class = {classes[c]: statistics.fmean(float(s.per_class[c]) for s in result.scores) for c in present}
    sizes = dict(zip(classes, counts, strict=True))
    worst = min(per_class, key=per_class.__getitem__)
    cells = [
        {"class": name, "domain": target.name, "images": sizes[name], "accuracy": value}
        for name, value in per_class.items()
    ]
    document = {
        "name": contestant.name,
        "kind": contestant.kind,
        "method": contestant.method,
        "bundle_id": contestant.bundle_id,
        "label_kind": contestant.label_kind,
        "training_images": contestant.images,
        "stored_images": contestant.stored,
        "stored_bytes": contestant.stored_bytes,
        "epochs": contestant.epochs,
        "optimiser_steps": result.steps,
        "sources": list(contestant.sources),
        "target": target.name,
        "corruption": target.corruption,
        "setting": seen.setting,
        "seen": seen.document(),
        "network": result.network,
        "network_weights": result.weights,
        "test_images": len(target.dataset),
        "repeats": len(result.scores),
        "cached_repeats": result.cached,
        "accuracy": spread([s.accuracy for s in result.scores]),
        "balanced_accuracy": spread([float(s.per_class[present].mean()) for s in result.scores]),
        "per_class": per_class,
        "worst_class": {"class": worst, "images": sizes[worst], "accuracy": per_class[worst]},
        "cells": cells,
        "ece": spread([s.ece for s in result.scores]),
        "loss_cvar": {"tail": tail} | spread([s.loss_cvar for s in result.scores]),
    }
    return document if groups is None else document | record_groups(result.scores, target.name, groups)


def summarise(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each contestant and network over its clean targets: mean over unseen and over in-domain ones, and the worst."""
    together: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in clean(records):
        together.setdefault((entry["name"], entry["network"]), []).append(entry)
    summaries = []
    for (name, network), entries in together.items():
        worst = min(entries, key=lambda e: e["accuracy"]["mean"])
        cell = min((cell for e in entries for cell in e["cells"]), key=lambda c: c["accuracy"])
        summary = {
            "name": name,
            "network": network,
            "targets": [e["target"] for e in entries],
            "mean_unseen": mean_accuracy(entries, UNSEEN),
            "mean_in_domain": mean_accuracy(entries, IN_DOMAIN, OTHER_IMAGES),
            "worst_target": {"target": worst["target"], "accuracy": worst["accuracy"]["mean"]},
            "worst_cell": cell,
            "gap": _gap(entries),
        }
        summaries.append(summary | summarise_groups(entries))
    return summaries


def clean(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The results on images as they are: headline, summary and gates know no others."""
    return [entry for entry in records if entry["corruption"] is None]


def mean_accuracy(entries: Sequence[Mapping[str, Any]], *settings: str) -> float | None:
    """Mean accuracy over the entries of some settings, None where there is none."""
    means = [entry["accuracy"]["mean"] for entry in entries if entry["setting"] in settings]
    return statistics.fmean(means) if means else None


def headline(records: Sequence[Mapping[str, Any]]) -> float:
    """The one number: mean accuracy of the bundles on unseen targets, or on in-domain ones where none is unseen."""
    bundles = [entry for entry in clean(records) if entry["kind"] == "bundle"]
    unseen = [entry for entry in bundles if entry["setting"] == UNSEEN]
    return statistics.fmean(entry["accuracy"]["mean"] for entry in unseen or bundles)


def _gap(entries: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean in-domain accuracy minus mean unseen accuracy; None unless both kinds of target were evaluated."""
    seen, unseen = mean_accuracy(entries, IN_DOMAIN, OTHER_IMAGES), mean_accuracy(entries, UNSEEN)
    return None if seen is None or unseen is None else seen - unseen


def gate_failures(
    records: Sequence[Mapping[str, Any]],
    *,
    min_accuracy: float | None,
    max_gap: float | None,
    allow_seen: bool = False,
) -> list[str]:
    """What the gates object to, one line each; baselines are not gated.

    A partly seen target passes no gate: its accuracy is not one on unseen images. `allow_seen` takes it as it is for
    `min_accuracy`; a gap needs an unseen target all the same.
    """
    bundles = [entry for entry in clean(records) if entry["kind"] == "bundle"]
    failures = []
    if min_accuracy is not None:
        for entry in bundles:
            mean = entry["accuracy"]["mean"]
            where = f"{entry['name']} on {entry['target']} with {entry['network']}"
            if entry["setting"] == PARTLY and not allow_seen:
                count = f"{entry['seen']['images']:,} of {plural(entry['test_images'], 'image')}"
                why = f"{count} shared with its sources; --allow-seen takes it as it is"
                failures.append(f"{where}: accuracy on unseen images unknown, {why}")
            elif not mean >= min_accuracy:
                failures.append(f"{where}: accuracy {mean:.4f} is below {min_accuracy:g}")
    if max_gap is not None:
        for summary in summarise(bundles):
            if summary["gap"] is None or not summary["gap"] <= max_gap:
                shown = "unknown" if summary["gap"] is None else f"{summary['gap']:.4f}"
                failures.append(f"{summary['name']} with {summary['network']}: gap {shown}, allowed {max_gap:g}")
    return failures
