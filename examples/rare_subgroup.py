#!/usr/bin/env python3
"""Does robust distillation serve a rare subgroup? One domain is cut to a small share of the training images, every
method distils that set with and without a risk over groups, and all are tested on images that no method saw.

    python examples/rare_subgroup.py --dataset digits --rare typeset --out runs/rare
    python examples/rare_subgroup.py --dataset pacs --data ~/datasets --rare sketch --share 0.05 --image-size 32 \
        --out runs/rare-pacs

It writes the training and the test set of each seed as folders of PNGs, runs the `dgdd` command on them, and keeps each
bundle and evaluation in --out: started again, it does what is missing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

# name: arguments of `dgdd distill`; a robust variant names its plain counterpart. {pixels}: the groups file by pixels.
VARIANTS: dict[str, tuple[str, str | None]] = {
    "dm": ("--method dm", None),
    "dm+mean": ("--method dm --risk mean --groups domain", "dm"),
    "dm+cvar 0.9": ("--method dm --risk cvar --groups domain --cvar-tail 0.9", "dm"),
    "dm+cvar 0.75": ("--method dm --risk cvar --groups domain --cvar-tail 0.75", "dm"),
    "dm+cvar 0.9 (clusters)": ("--method dm --risk cvar --groups kmeans:4 --cvar-tail 0.9", "dm"),
    "dm+cvar 0.9 (pixel clusters)": ("--method dm --risk cvar --groups {pixels} --cvar-tail 0.9", "dm"),
    "sgs": ("--method sgs", None),
    "sgs+cvar 0.9": ("--method sgs --risk cvar --groups domain --cvar-tail 0.9", "sgs"),
    "sgs+cvar 0.75": ("--method sgs --risk cvar --groups domain --cvar-tail 0.75", "sgs"),
    "sgs+cvar 0.9 (clusters)": ("--method sgs --risk cvar --groups kmeans:4 --cvar-tail 0.9", "sgs"),
    "dsa": ("--method dsa", None),
    "rdd": ("--method rdd", "dsa"),
    "rdd (domains)": ("--method rdd --groups domain", "dsa"),
}
FEATURES = ("pixels", "spectrum", "convnet")  # by which rare images are searched for; kmeans:4 takes the spectrum


def main() -> None:
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    keep_settings(options)
    names = [name.strip() for name in options.variants.split(",")]
    records = [run_seed(options, names, seed) for seed in range(options.seeds)]
    report = build_report(options, names, records)
    (options.out / "results.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (options.out / "results.md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data", type=Path, help="folder that holds the datasets")
    parser.add_argument("--domains", help="comma-separated domains to take part; default: all")
    parser.add_argument("--rare", required=True, help="the domain to cut")
    parser.add_argument("--share", type=float, default=0.02, help="of the training images that the rare domain keeps")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--evaluate", default="--set width=64", help="further arguments of dgdd evaluate")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def keep_settings(options: argparse.Namespace) -> None:
    """Refuse to mix runs: what decides a figure is kept beside the figures and must be the same the next time."""
    left_out = ("out", "seeds", "variants", "data")
    settings = {name: value for name, value in vars(options).items() if name not in left_out}
    path = options.out / "settings.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise SystemExit(f"{path} belongs to a study with other settings: name another --out")
    path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def run_seed(options: argparse.Namespace, names: list[str], seed: int) -> dict[str, Any]:
    """Accuracies by variant and domain, the number of images by domain, and what clusters find of the rare one."""
    folder = options.out / f"seed-{seed}"
    counts_file = folder / "counts.json"
    if not counts_file.exists():
        keep(counts_file, json.dumps(write_sets(options, folder, seed)))
    counts = json.loads(counts_file.read_text(encoding="utf-8"))
    clusters = {features: find_clusters(options, folder, seed, features) for features in FEATURES}
    accuracy, balanced = {}, {}
    for name in names:
        record = folder / f"{slug(name)}.json"
        if not record.exists():
            bundle = folder / f"{slug(name)}.safetensors"
            if not bundle.exists():
                where = [str(folder / "train"), "--target", "none", "--image-size", str(options.image_size)]
                resume = ["--resume"] if bundle.with_name(bundle.name + ".checkpoint").exists() else []
                size = ["--ipc", str(options.ipc), "--seed", str(seed), "--out", str(bundle), *resume]
                dgdd("distill", *where, *variant_arguments(name, folder), *size, "-q")
            where = ["--dataset", str(folder / "test"), "--target", ",".join(counts["test"]), "--seed", str(seed)]
            budget = ["--repeats", str(options.repeats), *shlex.split(options.evaluate)]
            keep(record, dgdd("evaluate", str(bundle), *where, *budget, "--json"))
        document = json.loads(record.read_text(encoding="utf-8"))
        accuracy[name] = {entry["target"]: entry["accuracy"]["mean"] for entry in document["results"]}
        balanced[name] = {
            entry["target"]: statistics.fmean(entry["per_class"].values()) for entry in document["results"]
        }
        protocol = document["protocol"]
        device = document["device"]["name"]
    figures = {"balanced_accuracy": balanced, "accuracy": accuracy}
    return figures | {"counts": counts, "clusters": clusters, "protocol": protocol, "device": device}


def variant_arguments(name: str, folder: Path) -> list[str]:
    return [word.format(pixels=folder / "pixels.safetensors") for word in shlex.split(VARIANTS[name][0])]


def find_clusters(options: argparse.Namespace, folder: Path, seed: int, features: str) -> float:
    """How many times its share the rare domain gets where four clusters a class, by these features, count alike."""
    from dgdd_cli.bundle.groups import read_groups
    from dgdd_cli.data.load import locate, read

    path, training = folder / f"{features}.safetensors", folder / "train"
    if not path.exists():
        how = ["--groups", "4", "--per", "class", "--features", features, "--image-size", str(options.image_size)]
        dgdd("cluster", str(training), *how, "--seed", str(seed), "--out", str(path), "-q")
    data = read(locate(str(training), data_dir=None), image_size=options.image_size)
    groups, rare = read_groups(path).groups, data.domains == data.domain_names.index(options.rare)
    shares, counted = [], []
    for c in range(len(data.class_names)):
        here = data.labels == c
        shares.append(float(rare[here].double().mean()))
        counted.append(statistics.fmean(float(rare[groups == g].double().mean()) for g in groups[here].unique()))
    return statistics.fmean(counted) / statistics.fmean(shares)


def dgdd(*arguments: str) -> str:
    kept = ("DGDD_CACHE", "DGDD_OFFLINE")  # a setting of somebody's shell would change what is compared
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DGDD_") or key in kept}
    command = [sys.executable, "-m", "dgdd_cli", *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"dgdd {shlex.join(arguments)}\nexit code {run.returncode}\n{run.stderr}")
    return run.stdout


def write_sets(options: argparse.Namespace, folder: Path, seed: int) -> dict[str, dict[str, int]]:
    """Three quarters of each cell train and the rest test; of the rare domain, what its share allows trains."""
    import torch
    from PIL import Image

    from dgdd_cli.data.load import locate, read
    from dgdd_cli.engine.seeds import stream

    located = locate(options.dataset, data_dir=options.data)
    domains = options.domains.split(",") if options.domains else list(located.domain_names)
    data = read(located, image_size=options.image_size, domains=domains)
    if options.rare not in domains:
        raise SystemExit(f"--rare {options.rare}: the domains are {', '.join(domains)}")
    rare, classes = data.domain_names.index(options.rare), len(data.class_names)
    cells = {}
    for d in range(len(domains)):
        for c in range(classes):
            rows = ((data.domains == d) & (data.labels == c)).nonzero().squeeze(1)
            cells[d, c] = rows[torch.randperm(len(rows), generator=stream(seed, "rare subgroup", d, c))]
    training = {key: 3 * len(rows) // 4 for key, rows in cells.items() if key[0] != rare}
    allowed = round(sum(training.values()) * options.share / (1 - options.share))
    for c in range(classes):
        training[rare, c] = max(1, allowed // classes + (c < allowed % classes))
    counts = {part: dict.fromkeys(domains, 0) for part in ("train", "test")}
    for (d, c), rows in cells.items():
        for place, row in enumerate(rows.tolist()):
            part = "train" if place < training[d, c] else "test"
            path = folder / part / domains[d] / data.class_names[c] / f"{row:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data.images[row].permute(1, 2, 0).numpy()).save(path)
            counts[part][domains[d]] += 1
    return counts


def keep(path: Path, text: str) -> None:
    """Write atomically: a record that exists is complete."""
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    print(f"{path.parent.name}: {path.stem}", file=sys.stderr, flush=True)


def slug(name: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in name).strip("-")


def build_report(options: argparse.Namespace, names: list[str], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of each variant, and paired differences to its plain counterpart."""
    kept = ("dataset", "rare", "share", "ipc", "image_size", "seeds", "repeats")
    report = {
        "schema": "dgdd.rare-subgroup/2",
        **{name: getattr(options, name) for name in kept},
        "variants": {name: VARIANTS[name][0] for name in names},
        "counts": [record["counts"] for record in records],
        "clusters": {features: spread([record["clusters"][features] for record in records]) for features in FEATURES},
        "protocol": records[0]["protocol"],
        "device": records[0]["device"],
    }
    for metric in ("balanced_accuracy", "accuracy"):
        report[metric] = compare(options.rare, names, [record[metric] for record in records])
    return report


def compare(rare: str, names: list[str], records: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
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
    pairs = [(name, VARIANTS[name][1]) for name in names if VARIANTS[name][1] in names]
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
        f"({first['train'][report['rare']]} of {sum(first['train'].values())}), {report['ipc']} images per class, "
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
        f"Four K-means clusters of each class, counted alike, give the rare domain x times its share: {lifts}.",
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


if __name__ == "__main__":
    main()
