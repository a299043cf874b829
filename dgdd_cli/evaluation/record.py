"""The record of an evaluation: plain values that become the JSON document and the table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.evaluation.compare import Result

UNSEEN = "unseen domain"
IN_DOMAIN = "in-domain (images it was made from)"  # there is no split of a source: its images served the making


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
        "setting": IN_DOMAIN if result.in_domain else UNSEEN,
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
    """Each contestant and network over its targets: mean over the unseen and over the in-domain ones, and the worst."""
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
                "mean_unseen": mean_accuracy(entries, UNSEEN),
                "mean_in_domain": mean_accuracy(entries, IN_DOMAIN),
                "worst_target": {"target": worst["target"], "accuracy": worst["accuracy"]["mean"]},
                "worst_cell": cell,
                "gap": _gap(entries),
            }
        )
    return summaries


def mean_accuracy(entries: Sequence[Mapping[str, Any]], setting: str) -> float | None:
    """Mean accuracy over the entries of one setting, None where there is none."""
    means = [entry["accuracy"]["mean"] for entry in entries if entry["setting"] == setting]
    return statistics.fmean(means) if means else None


def headline(records: Sequence[Mapping[str, Any]]) -> float:
    """The one number: mean accuracy of the bundles on unseen targets, or on in-domain ones where none is unseen."""
    bundles = [entry for entry in records if entry["kind"] == "bundle"]
    unseen = [entry for entry in bundles if entry["setting"] == UNSEEN]
    return statistics.fmean(entry["accuracy"]["mean"] for entry in unseen or bundles)


def _gap(entries: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean in-domain accuracy minus mean unseen accuracy; None unless both kinds of target were evaluated."""
    seen, unseen = mean_accuracy(entries, IN_DOMAIN), mean_accuracy(entries, UNSEEN)
    return None if seen is None or unseen is None else seen - unseen


def gate_failures(
    records: Sequence[Mapping[str, Any]], *, min_accuracy: float | None, max_gap: float | None
) -> list[str]:
    """What the gates object to, one line each; baselines are not gated."""
    bundles = [entry for entry in records if entry["kind"] == "bundle"]
    failures = []
    if min_accuracy is not None:
        for entry in bundles:
            mean = entry["accuracy"]["mean"]
            if mean < min_accuracy:
                where = f"{entry['name']} on {entry['target']} with {entry['network']}"
                failures.append(f"{where}: accuracy {mean:.4f} is below {min_accuracy:g}")
    if max_gap is not None:
        for summary in summarise(bundles):
            if summary["gap"] is None or summary["gap"] > max_gap:
                shown = "unknown" if summary["gap"] is None else f"{summary['gap']:.4f}"
                failures.append(f"{summary['name']} with {summary['network']}: gap {shown}, allowed {max_gap:g}")
    return failures
