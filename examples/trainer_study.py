#!/usr/bin/env python3
"""Does a post-hoc method of domain generalisation help on distilled images? The same bundles, several trainers.

    python examples/trainer_study.py --out runs/trainers --methods dm-balanced,sgs --evaluate '--set width=64' \
        -- --dataset digits --image-size 16

Runs `leave_one_out.py` once for every trainer, on the bundles that the first one made (arguments after `--` are its
own), and writes accuracies with paired differences to the first as JSON and Markdown. Resumable, as that script is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rare_report import paired, with_interval

TRAINERS = "erm,groupdro,cvar,mixup,coral,mixstyle"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainers", default=TRAINERS, help="the first is what the others are compared with")
    parser.add_argument("--methods", default="dm-balanced,sgs")
    parser.add_argument("--evaluate", default="", help="further arguments of dgdd evaluate, in one string")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("arguments", nargs="+", help="arguments of leave_one_out.py")
    options = parser.parse_args()
    reports: dict[str, dict[str, Any]] = {}
    for trainer in options.trainers.split(","):
        reports[trainer] = study(trainer, options, bundles_of=next(iter(reports), None))
    found = gather(reports, options.methods.split(","))
    (options.out / "trainers.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (options.out / "trainers.md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))


def study(trainer: str, options: argparse.Namespace, bundles_of: str | None) -> dict[str, Any]:
    """The report of one trainer, on the bundles of another where that has made them."""
    out = options.out / trainer
    if bundles_of:
        out.mkdir(parents=True, exist_ok=True)
        for bundle in (options.out / bundles_of).glob("*.safetensors"):
            if not (out / bundle.name).exists():
                part = out / f"{bundle.name}.part"  # a bundle that exists is complete
                shutil.copyfile(bundle, part)
                part.replace(out / bundle.name)
    script = Path(__file__).with_name("leave_one_out.py")
    settings = ["--methods", options.methods, "--evaluate", f"{options.evaluate} --trainer {trainer}".strip()]
    command = [sys.executable, str(script), *settings, "--no-whole", "--out", str(out), *options.arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def gather(reports: dict[str, dict[str, Any]], methods: list[str]) -> dict[str, Any]:
    """Accuracy of every method and trainer over targets and seeds, and the paired difference to the first trainer."""
    first, *_ = reports
    rows: dict[str, dict[str, Any]] = {}
    for method in methods:
        values = {
            trainer: [v for target in report["targets"] for v in report["accuracy"][method][target]]
            for trainer, report in reports.items()
        }
        rows[method] = {
            trainer: {
                "values": accuracies,
                "mean": statistics.fmean(accuracies),
                "targets": {t: statistics.fmean(v) for t, v in reports[trainer]["accuracy"][method].items()},
                "minus_first": paired(accuracies, values[first]),
            }
            for trainer, accuracies in values.items()
        }
    kept = ("dataset", "image_size", "ipc", "seeds", "repeats", "targets", "protocol", "device")
    shared = {name: reports[first][name] for name in kept}
    return {"schema": "dgdd.trainer-study/1", "first": first, "rows": rows, **shared}


def markdown(found: dict[str, Any]) -> str:
    targets = found["targets"]
    lines = [
        f"Accuracy (%) on the held-out domain by trainer; {found['dataset']} at {found['image_size']} px, "
        f"{found['ipc']} images per class, {found['seeds']} seeds x {found['repeats']} trainings, ConvNet width "
        f"{found['protocol']['width']}, {found['protocol']['epochs']} epochs. Paired difference over targets x seeds "
        f"with its 95 % confidence interval. Device: {found['device']}.",
        "",
        "| method | trainer | " + " | ".join(targets) + f" | mean | minus {found['first']} |",
        "|---|---|" + "---|" * (len(targets) + 2),
    ]
    for method, trainers in found["rows"].items():
        for trainer, row in trainers.items():
            cells = [f"{100 * row['targets'][target]:.1f}" for target in targets] + [f"{100 * row['mean']:.1f}"]
            gap = "" if trainer == found["first"] else with_interval(row["minus_first"])
            lines.append("| " + " | ".join([method, trainer, *cells, gap]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
