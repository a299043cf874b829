"""The record of an evaluation: plain values that become the JSON document and the table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.evaluation.compare import Result


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None for one value) and the values themselves."""
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


def record(result: Result, target: DomainDataset) -> dict[str, Any]:
    """One result with its per-class and per-cell accuracies (means over repeats), worst class, worst cell and ECE."""
    contestant = result.contestant
    counts = target.counts().sum(1).tolist()
    per_class = {
        name: statistics.fmean(float(s.per_class[c]) for s in result.scores)
        for c, name in enumerate(target.class_names)
        if counts[c]
    }
    sizes = dict(zip(target.class_names, counts, strict=True))
    worst = min(per_class, key=per_class.__getitem__)
    cells = [
        {"class": name, "domain": result.target, "images": sizes[name], "accuracy": value}
        for name, value in per_class.items()
    ]
    return {
        "name": contestant.name,
        "kind": contestant.kind,
        "method": contestant.method,
        "bundle_id": contestant.bundle_id,
        "training_images": contestant.images,
        "epochs": contestant.epochs,
        "sources": list(contestant.sources),
        "target": result.target,
        "setting": "in-domain" if result.in_domain else "unseen domain",
        "network": result.network,
        "test_images": len(target),
        "repeats": len(result.scores),
        "accuracy": spread([s.accuracy for s in result.scores]),
        "per_class": per_class,
        "worst_class": {"class": worst, "images": sizes[worst], "accuracy": per_class[worst]},
        "cells": cells,
        "ece": spread([s.ece for s in result.scores]),
    }


def summarise(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each contestant and network over its targets: mean, worst target, worst cell."""
    together: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in records:
        together.setdefault((entry["name"], entry["network"]), []).append(entry)
    summaries = []
    for (name, network), entries in together.items():
        worst = min(entries, key=lambda e: e["accuracy"]["mean"])
        cell = min((cell for e in entries for cell in e["cells"]), key=lambda c: c["accuracy"])
        summaries.append(
            {
                "name": name,
                "network": network,
                "targets": [e["target"] for e in entries],
                "mean_accuracy": statistics.fmean(e["accuracy"]["mean"] for e in entries),
                "worst_target": {"target": worst["target"], "accuracy": worst["accuracy"]["mean"]},
                "worst_cell": cell,
                "gap": _gap(entries),
            }
        )
    return summaries


def _gap(entries: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean in-domain accuracy minus mean unseen accuracy; None unless both kinds of target were evaluated."""
    seen = [e["accuracy"]["mean"] for e in entries if e["setting"] == "in-domain"]
    unseen = [e["accuracy"]["mean"] for e in entries if e["setting"] != "in-domain"]
    return statistics.fmean(seen) - statistics.fmean(unseen) if seen and unseen else None


def gate_failures(
    records: Sequence[Mapping[str, Any]], *, min_accuracy: float | None, max_gap: float | None
) -> list[str]:
    """What the gates object to, one line each; baselines are not gated. A NaN never passes."""
    bundles = [entry for entry in records if entry["kind"] == "bundle"]
    failures = []
    if min_accuracy is not None:
        for entry in bundles:
            mean = entry["accuracy"]["mean"]
            if math.isnan(mean) or mean < min_accuracy:
                where = f"{entry['name']} on {entry['target']} with {entry['network']}"
                failures.append(f"{where}: accuracy {mean:.4f} is below {min_accuracy:g}")
    if max_gap is not None:
        for summary in summarise(bundles):
            if summary["gap"] is None or math.isnan(summary["gap"]) or summary["gap"] > max_gap:
                shown = "unknown" if summary["gap"] is None else f"{summary['gap']:.4f}"
                failures.append(f"{summary['name']} with {summary['network']}: gap {shown}, allowed {max_gap:g}")
    return failures
