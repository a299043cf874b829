"""The report of `rare_subgroup.py`: figures by variant, and paired differences with their confidence."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping
from typing import Any

Variants = Mapping[str, tuple[str, str | None]]  # arguments of `dgdd distill`, and the plain counterpart


def build_report(
    options: argparse.Namespace, variants: Variants, names: list[str], records: list[dict[str, Any]]
) -> dict[str, Any]:
    """Mean and standard deviation over seeds of each variant, and paired differences to its plain counterpart."""
    kept = ("dataset", "rare", "hide_in", "share", "ipc", "image_size", "seeds", "repeats")
    report = {
        "schema": "dgdd.rare-subgroup/2",
        **{name: getattr(options, name) for name in kept},
        "variants": {name: variants[name][0] for name in names},
        "counts": [record["counts"] for record in records],
        "clusters": {kind: spread([record["clusters"][kind] for record in records]) for kind in records[0]["clusters"]},
        "protocol": records[0]["protocol"],
        "device": records[0]["device"],
    }
    for metric in ("balanced_accuracy", "accuracy"):
        report[metric] = compare(options.rare, variants, names, [record[metric] for record in records])
    return report


def compare(
    rare: str, variants: Variants, names: list[str], records: list[dict[str, dict[str, float]]]
) -> dict[str, Any]:
    """Of one kind of accuracy, by variant and domain for each seed: rows of the table, and paired differences."""
    figures = {
        name: {
            "worst": [min(record[name].values()) for record in records],
            "rare": [record[name][rare] for record in records],
            "mean": [statistics.fmean(record[name].values()) for record in records],
        }
        for name in names
    }
    rows = {
        name: {what: spread(values) for what, values in figures[name].items()}
        | {"domains": {domain: statistics.fmean(r[name][domain] for r in records) for domain in records[0][name]}}
        for name in names
    }
    pairs = [(name, variants[name][1]) for name in names if variants[name][1] in names]
    differences = {
        f"{name} − {plain}": {what: paired(ours, figures[plain][what]) for what, ours in figures[name].items()}
        for name, plain in pairs
    }
    return {"by_seed": records, "rows": rows, "differences": differences}


def spread(values: list[float]) -> dict[str, Any]:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def paired(ours: list[float], others: list[float]) -> dict[str, Any]:
    """Mean of the paired differences with the half-width of their 95 % confidence interval (Student's t)."""
    from scipy.stats import t

    gaps = [a - b for a, b in zip(ours, others, strict=True)]
    if len(gaps) < 2:
        return {"mean": gaps[0], "half_width": None, "n": 1}
    half = float(t.ppf(0.975, len(gaps) - 1)) * statistics.stdev(gaps) / math.sqrt(len(gaps))
    return {"mean": statistics.fmean(gaps), "half_width": half, "n": len(gaps)}


def markdown(report: dict[str, Any]) -> str:
    domains = list(report["counts"][0]["test"])
    first = report["counts"][0]
    lifts = ", ".join(f"{features} {with_spread(lift)}" for features, lift in report["clusters"].items())
    lines = [
        f"Balanced accuracy (%, mean over classes) on images that no method saw; {report['dataset']} at "
        f"{report['image_size']} px, "
        f"{report['rare']} cut to {100 * report['share']:g} % of the training images "
        f"({first['train'][report['rare']]} of {sum(first['train'].values())})"
        f"{', hidden in ' + report['hide_in'] if report['hide_in'] else ''}, {report['ipc']} images per class, "
        f"{report['seeds']} seeds (split, distillation and training) x {report['repeats']} trainings, mean ± std over "
        f"seeds. Protocol {report['protocol']['name']}: {report['protocol']['epochs']} epochs, ConvNet width "
        f"{report['protocol']['width']}, {report['protocol']['precision']}. Device: {report['device']}.",
        "",
        "| variant | " + " | ".join(domains) + " | worst group | mean of groups |",
        "|---|" + "---|" * (len(domains) + 2),
    ]
    for name, row in report["balanced_accuracy"]["rows"].items():
        cells = [f"{100 * row['domains'][domain]:.1f}" for domain in domains]
        cells += [with_std(row["worst"]), with_std(row["mean"])]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    lines += ["", *table_of_differences("balanced", report["balanced_accuracy"]["differences"])]
    lines += ["", "The same of plain accuracy, in which a class counts by its test images:", ""]
    lines += table_of_differences("plain", report["accuracy"]["differences"])
    lines += [
        "",
        f"Up to four K-means clusters of each class, counted alike, give the rare domain x times its share: {lifts}.",
    ]
    return "\n".join(lines) + "\n"


def table_of_differences(kind: str, differences: dict[str, Any]) -> list[str]:
    heading = f"paired difference ({kind} accuracy, points, 95 % confidence)"
    lines = [f"| {heading} | worst group | rare domain | mean of groups |", "|---|---|---|---|"]
    for name, row in differences.items():
        lines.append(
            "| " + " | ".join([name, *(with_interval(row[what]) for what in ("worst", "rare", "mean"))]) + " |"
        )
    return lines


def with_spread(figure: dict[str, Any]) -> str:
    return f"{figure['mean']:.1f}" + ("" if figure["std"] is None else f" ± {figure['std']:.1f}")


def with_std(figure: dict[str, Any]) -> str:
    return f"{100 * figure['mean']:.1f}" + ("" if figure["std"] is None else f" ± {100 * figure['std']:.1f}")


def with_interval(figure: dict[str, Any]) -> str:
    half = "" if figure["half_width"] is None else f" ± {100 * figure['half_width']:.1f}"
    return f"{100 * figure['mean']:+.1f}{half}"
