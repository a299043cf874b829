"""The results of a study as plain values and as the tables that people read."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dgdd_cli.studies.paired import paired_difference
from dgdd_cli.studies.plan import Plan

METRICS = {"accuracy": "Accuracy (%)", "balanced_accuracy": "Balanced accuracy (%, mean over classes)"}
Rows = Sequence[Mapping[str, Any]]


def results_of(
    plan: Plan, records: Mapping[tuple[str, int], Rows], failed: Mapping[tuple[str, str, int], str]
) -> dict[str, Any]:
    """Accuracies by recipe, target and seed (means over trainings), budgets, and paired differences.

    A recipe without a figure for some target and seed is in no difference and has no mean.
    """
    names = [*plan.recipes, *(name for name in plan.baselines if name not in plan.recipes)]
    figures = {metric: {name: _by_target(plan, records, name, metric) for name in names} for metric in METRICS}
    whole = {name: all(len(own) == len(plan.seeds) for own in figures["accuracy"][name].values()) for name in names}
    return plan.document() | {
        "budgets": {name: budget for name in names if (budget := _budget(records, name))},
        "figures": figures,
        "differences": {
            metric: [_difference(of, ours, theirs) for ours, theirs in _pairs(plan, whole)]
            for metric, of in figures.items()
        },
        "failed": [
            {"recipe": name, "target": target, "seed": seed, "why": why} for (name, target, seed), why in failed.items()
        ],
    }


def _by_target(plan: Plan, records: Mapping[tuple[str, int], Rows], name: str, metric: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {target: [] for target in plan.targets}
    for target in plan.targets:
        for seed in plan.seeds:
            rows = [row for row in records.get((target, seed), ()) if row["recipe"] == name]
            found[target] += [row[metric]["mean"] for row in rows[:1]]
    return found


def _budget(records: Mapping[tuple[str, int], Rows], name: str) -> dict[str, list[int]] | None:
    """Least and most of images and bytes over the cells."""
    rows = [row for own in records.values() for row in own if row["recipe"] == name]
    if not rows:
        return None
    keys = ("training_images", "stored_images", "stored_bytes", "optimiser_steps")
    return {key: [min(row[key] for row in rows), max(row[key] for row in rows)] for key in keys}


def _pairs(plan: Plan, whole: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """Every recipe minus each recipe before it, and minus each baseline."""
    recipes = [name for name in plan.recipes if whole[name]]
    for place, name in enumerate(recipes):
        yield from ((name, other) for other in recipes[:place])
        yield from ((name, other) for other in plan.baselines if other not in plan.recipes and whole[other])


def _difference(figures: Mapping[str, Mapping[str, Sequence[float]]], ours: str, theirs: str) -> dict[str, Any]:
    found = paired_difference(figures[ours], figures[theirs])
    return {
        "recipe": ours,
        "minus": theirs,
        "mean": found.mean,
        "standard_error": found.error,
        "interval": found.interval,
        "by_target": dict(found.by_target),
        "pairs": found.pairs,
    }


def markdown(document: Mapping[str, Any]) -> str:
    """The tables: budgets and accuracy with its deviation over seeds, then the paired differences in points."""
    targets, seeds = document["targets"], document["seeds"]
    lines = [
        f"{document['dataset']} at {document['image_size']} px, {document['ipc']} stored images per class, "
        f"{len(seeds)} distillation seed(s) x {document['repeats']} trainings, mean ± std over seeds. Differences are "
        "paired by target and seed; targets are fixed, the variance is that within targets, and ± is the 95 % interval "
        "of Student's t." + _ceilings(document),
        "",
    ]
    for metric, what in METRICS.items():
        lines += [f"{what}:", "", "| recipe | images | bytes | " + " | ".join(targets) + " | mean |"]
        lines.append("|---|" + "---|" * (len(targets) + 3))
        lines += [_row(document, metric, name) for name in document["budgets"]]
        lines += ["", "| paired difference, points | mean | " + " | ".join(targets) + " |"]
        lines.append("|---|" + "---|" * (len(targets) + 1))
        lines += [_line(difference, targets) for difference in document["differences"][metric]]
        lines.append("")
    if document["failed"]:
        lines += ["Failed:", ""]
        lines += [
            f"- {cell['recipe']} on {cell['target']}, seed {cell['seed']}: {cell['why']}" for cell in document["failed"]
        ]
        lines.append("")
    return "\n".join(lines)


def _ceilings(document: Mapping[str, Any]) -> str:
    named = [f"`{name}`" for name in document["budgets"] if name.startswith("whole")]
    return f" The ceiling {' and '.join(named)}: a fixed number of epochs, not tuned." if named else ""


def _row(document: Mapping[str, Any], metric: str, name: str) -> str:
    budget, by_target = document["budgets"][name], document["figures"][metric][name]
    cells = [_percent(by_target[target]) for target in document["targets"]]
    complete = all(len(own) == len(document["seeds"]) for own in by_target.values())
    per_seed = [statistics.fmean(values) for values in zip(*by_target.values(), strict=True)] if complete else []
    images = _span(budget["training_images"])
    if budget["training_images"] != budget["stored_images"]:
        images += f" in {_span(budget['stored_images'])}"
    return "| " + " | ".join([name, images, _span(budget["stored_bytes"]), *cells, _percent(per_seed)]) + " |"


def _line(difference: Mapping[str, Any], targets: Sequence[str]) -> str:
    sure = "" if difference["interval"] is None else f" ± {100 * difference['interval']:.1f}"
    cells = [f"{100 * difference['by_target'][target]:+.1f}" for target in targets]
    name = f"{difference['recipe']} − {difference['minus']}"
    return "| " + " | ".join([name, f"{100 * difference['mean']:+.1f}{sure}", *cells]) + " |"


def _span(least_and_most: Sequence[int]) -> str:
    least, most = least_and_most
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _percent(values: Sequence[float]) -> str:
    if not values:
        return "–"
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{deviation}"
