#!/usr/bin/env python3
"""Compare methods on every target: distil methods x targets x seeds, evaluate, and write JSON and tables.

    python examples/leave_one_out.py --dataset digits --out runs/digits
    python examples/leave_one_out.py --dataset pacs --data ~/datasets --targets sketch,photo \
        --methods random,dm-balanced,sgs --seeds 1 --out runs/pacs

One table is of accuracy, one of balanced accuracy, for targets that have most of their images in a few classes.
It runs the `dgdd` command for every cell of the table and keeps each bundle and each evaluation in --out: started
again, it does what is missing (an interrupted distillation resumes). Arguments after `--` go to `dgdd distill` as
they are; those of --evaluate to `dgdd evaluate`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

METHODS = "random,balanced-random,kmeans,dm,dm-balanced,sgs"


def main() -> None:
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    keep_settings(options)
    targets = options.targets.split(",") if options.targets else known_targets(options)
    methods = options.methods.split(",")
    cells = [(target, seed) for target in targets for seed in range(options.seeds)]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda cell: run_cell(options, methods, *cell), cells))
        ceilings = list(pool.map(lambda target: run_ceiling(options, methods, target), targets))
    for metric, stem in (("accuracy", "results"), ("balanced_accuracy", "results-balanced")):
        report = build_report(options, metric, methods, targets, ceilings)
        text = json.dumps(report, indent=1, sort_keys=True) + "\n"
        (options.out / f"{stem}.json").write_text(text, encoding="utf-8")
        (options.out / f"{stem}.md").write_text(markdown(report), encoding="utf-8")
        print(markdown(report))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data", help="folder that holds the datasets")
    parser.add_argument("--targets", help="comma-separated; default: every domain of the dataset")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3, help="distillation seeds per method and target")
    parser.add_argument("--repeats", type=int, default=3, help="trainings per bundle")
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time")
    parser.add_argument("--evaluate", default="", help="further arguments of dgdd evaluate, in one string")
    parser.add_argument("--no-whole", action="store_true", help="leave out the ceiling: training on the whole source")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("distill", nargs="*", help="further arguments of dgdd distill")
    return parser.parse_args()


def keep_settings(options: argparse.Namespace) -> None:
    """Refuse to mix runs: what decides a figure is kept beside the figures and must be the same the next time."""
    names = ("dataset", "methods", "ipc", "image_size", "repeats", "evaluate", "distill")
    settings = {name: getattr(options, name) for name in names}
    path = options.out / "settings.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise SystemExit(f"{path} belongs to a comparison with other settings: name another --out")
    path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def dgdd(options: argparse.Namespace, *arguments: str) -> str:
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    command = [sys.executable, "-m", "dgdd_cli", *arguments]
    if options.data:
        command += ["--data", options.data]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{shlex.join(command)}\nexit code {run.returncode}\n{run.stderr}")
    return run.stdout


def known_targets(options: argparse.Namespace) -> list[str]:
    from dgdd_cli.data.load import locate

    return list(locate(options.dataset, data_dir=Path(options.data) if options.data else None).domain_names)


def bundle_path(options: argparse.Namespace, method: str, target: str, seed: int) -> Path:
    return options.out / f"{method}-{target}-{seed}.safetensors"


def run_cell(options: argparse.Namespace, methods: Sequence[str], target: str, seed: int) -> None:
    """Distil and evaluate every method for one target and seed; one evaluation, so that trainings are paired."""
    bundles = [bundle_path(options, method, target, seed) for method in methods]
    for method, bundle in zip(methods, bundles, strict=True):
        if not bundle.exists():
            arguments = ["--ipc", str(options.ipc), "--image-size", str(options.image_size), *options.distill]
            chosen = ["--method", method, "--target", target, "--seed", str(seed), "--out", str(bundle)]
            resume = ["--resume"] if bundle.with_name(bundle.name + ".checkpoint").exists() else []
            dgdd(options, "distill", options.dataset, *arguments, *chosen, *resume, "-q")
            print(f"distilled {bundle.name}", file=sys.stderr, flush=True)
    record = options.out / f"evaluation-{target}-{seed}.json"
    if not record.exists():
        keep(record, evaluate(options, bundles, target, seed))


def run_ceiling(options: argparse.Namespace, methods: Sequence[str], target: str) -> dict[str, Any] | None:
    """Train on the whole source set, once a target."""
    if options.no_whole:
        return None
    record = options.out / f"whole-{target}.json"
    if not record.exists():
        # `evaluate` measures baselines beside a bundle: one epoch of it is the smallest companion.
        bundle = bundle_path(options, methods[0], target, 0)
        keep(record, evaluate(options, [bundle], target, 0, "--baseline", "whole", "--epochs", "1"))
    return json.loads(record.read_text(encoding="utf-8"))


def evaluate(options: argparse.Namespace, bundles: Sequence[Path], target: str, seed: int, *more: str) -> str:
    where = ["--dataset", options.dataset, "--target", target, "--seed", str(seed)]
    budget = ["--repeats", str(options.repeats), *shlex.split(options.evaluate), *more]
    return dgdd(options, "evaluate", *map(str, bundles), *where, *budget, "--json")


def keep(path: Path, text: str) -> None:
    """Write atomically: a record that exists is complete."""
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    print(f"evaluated {path.stem}", file=sys.stderr, flush=True)


def build_report(
    options: argparse.Namespace,
    metric: str,
    methods: Sequence[str],
    targets: Sequence[str],
    ceilings: Sequence[dict | None],
) -> dict[str, Any]:
    """Accuracies of one kind by method, target and seed (means over repeats), and what they add up to."""
    accuracy: dict[str, dict[str, list[float]]] = {m: {t: [] for t in targets} for m in methods}
    documents = []
    for target in targets:
        for seed in range(options.seeds):
            text = (options.out / f"evaluation-{target}-{seed}.json").read_text(encoding="utf-8")
            documents.append(json.loads(text))
            for result in documents[-1]["results"]:
                if metric not in result:
                    raise SystemExit(
                        f"evaluation-{target}-{seed}.json is of an older dgdd, without {metric}: delete it"
                    )
                accuracy[result["method"]][target].append(result[metric]["mean"])
    rows = {method: row(accuracy[method]) for method in methods}
    for target, ceiling in zip(targets, ceilings, strict=True):
        if ceiling:
            whole = next(r for r in ceiling["results"] if r["method"] == "whole")
            accuracy.setdefault("whole", {})[target] = whole[metric]["values"]
    if "whole" in accuracy:
        rows["whole"] = row(accuracy["whole"])
    first = documents[0]
    return {
        "schema": "dgdd.leave-one-out/1",
        "metric": metric,
        "dataset": first["dataset"],
        "image_size": first["image_size"],
        "ipc": options.ipc,
        "seeds": options.seeds,
        "repeats": options.repeats,
        "targets": list(targets),
        "protocol": first["protocol"],
        "device": first["device"]["name"],
        "distill_arguments": options.distill,
        "accuracy": accuracy,
        "rows": rows,
        "differences": list(differences(accuracy, methods, targets)),
    }


def row(by_target: dict[str, list[float]]) -> dict[str, Any]:
    """Mean and std over seeds of each target, their mean, and the worst target."""
    means = {target: statistics.fmean(values) for target, values in by_target.items()}
    worst = min(means, key=means.__getitem__)
    per_seed = [statistics.fmean(values) for values in zip(*by_target.values(), strict=True)]
    return {
        "targets": {target: {"mean": means[target], "std": std(values)} for target, values in by_target.items()},
        "mean": statistics.fmean(means.values()),
        "mean_std": std(per_seed),
        "worst_target": worst,
        "worst": means[worst],
    }


def std(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def differences(
    accuracy: dict[str, dict[str, list[float]]], methods: Sequence[str], targets: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Paired by target and seed: each method minus `random`, and `sgs` minus `dm-balanced`, with standard errors."""
    pairs = [(method, "random") for method in methods if method != "random" and "random" in methods]
    pairs += [("sgs", "dm-balanced")] if {"sgs", "dm-balanced"} <= set(methods) else []
    for method, other in pairs:
        gaps = [a - b for t in targets for a, b in zip(accuracy[method][t], accuracy[other][t], strict=True)]
        error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else None
        yield {
            "method": method,
            "minus": other,
            "mean": statistics.fmean(gaps),
            "standard_error": error,
            "n": len(gaps),
        }


def markdown(report: dict[str, Any]) -> str:
    """The table that people read: accuracy in percent, mean ± std over seeds."""
    protocol = report["protocol"]
    targets = report["targets"]
    what = {"accuracy": "Accuracy (%)", "balanced_accuracy": "Balanced accuracy (%, mean over classes)"}
    lines = [
        f"{what[report['metric']]} on the held-out domain. {report['dataset']} at {report['image_size']} px, "
        f"{report['ipc']} images per class, {report['seeds']} distillation seed(s) x {report['repeats']} trainings, "
        "mean ± std over seeds. "
        f"Protocol {protocol['name']}: {protocol['epochs']} epochs, batch {protocol['batch']}, ConvNet width "
        f"{protocol['width']}, {protocol['precision']}, last epoch; `whole` trains on all source images for "
        f"{protocol['whole_epochs']} epochs (± over trainings). Device: {report['device']}. Paired differences are "
        "over targets x seeds; their standard error treats these pairs as independent.",
        "",
        "| method | " + " | ".join(targets) + " | mean | worst target |",
        "|---|" + "---|" * (len(targets) + 2),
    ]
    for method, figures in report["rows"].items():
        cells = [percent(figures["targets"][t]["mean"], figures["targets"][t]["std"]) for t in targets]
        overall = percent(figures["mean"], figures["mean_std"])
        worst = f"{100 * figures['worst']:.1f} ({figures['worst_target']})"
        lines.append("| " + " | ".join([method, *cells, overall, worst]) + " |")
    lines += ["", "| paired difference | points | pairs |", "|---|---|---|"]
    for d in report["differences"]:
        error = "" if d["standard_error"] is None else f" ± {100 * d['standard_error']:.1f}"
        lines.append(f"| {d['method']} − {d['minus']} | {100 * d['mean']:+.1f}{error} (s.e.) | {d['n']} |")
    return "\n".join(lines) + "\n"


def percent(mean: float, deviation: float | None) -> str:
    return f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


if __name__ == "__main__":
    main()
