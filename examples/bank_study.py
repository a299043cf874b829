#!/usr/bin/env python3
"""What a bank of K cached probes costs in accuracy: the same method over banks of several sizes and fresh probes.

    python examples/bank_study.py --out runs/bank -- --dataset digits --image-size 16 --evaluate '--set width=64'

Runs `leave_one_out.py` once for every source of probes (arguments after `--` are its own) and gathers the accuracies
into one JSON and one picture. Resumable, as that script is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", default="bank:5,bank:20,bank:100,bank:500,fresh")
    parser.add_argument("--method", default="dm-balanced")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("arguments", nargs="+", help="arguments of leave_one_out.py")
    options = parser.parse_args()
    reports = {source: study(source, options) for source in options.sources.split(",")}
    found = gather(reports, options.method)
    (options.out / "bank.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draw(found, options.out / "bank.png")
    for source, row in found["rows"].items():
        print(f"{source:10s} {100 * row['mean']:.1f} ± {100 * row['standard_error']:.1f} (s.e., {row['n']} pairs)")


def study(source: str, options: argparse.Namespace) -> dict[str, Any]:
    """The report of one source of probes."""
    out = options.out / source.replace(":", "-")
    script = Path(__file__).with_name("leave_one_out.py")
    command = [sys.executable, str(script), "--methods", options.method, "--no-whole", "--out", str(out)]
    subprocess.run([*command, *options.arguments, "--", "--probes", source], check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def gather(reports: dict[str, dict[str, Any]], method: str) -> dict[str, Any]:
    """Accuracies of all targets and seeds by source of probes, and each source's difference to the last one named."""
    first = next(iter(reports.values()))
    values = {
        source: [v for target in report["targets"] for v in report["accuracy"][method][target]]
        for source, report in reports.items()
    }
    last = list(values.values())[-1]
    rows = {source: describe(accuracies, last) for source, accuracies in values.items()}
    kept = ("dataset", "image_size", "ipc", "seeds", "repeats", "targets", "protocol", "device")
    return {"schema": "dgdd.bank-study/1", "method": method, "rows": rows, **{name: first[name] for name in kept}}


def describe(accuracies: list[float], last: list[float]) -> dict[str, Any]:
    """Mean with its standard error, and the paired difference to `last` with its own."""
    gaps = [a - b for a, b in zip(accuracies, last, strict=True)]
    root = len(accuracies) ** 0.5
    return {
        "values": accuracies,
        "n": len(accuracies),
        "mean": statistics.fmean(accuracies),
        "standard_error": statistics.stdev(accuracies) / root,
        "minus_last": statistics.fmean(gaps),
        "minus_last_standard_error": statistics.stdev(gaps) / root,
    }


def draw(found: dict[str, Any], path: Path) -> None:
    """Paired difference to the last source of probes, with standard errors."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = found["rows"]
    figure, axis = pyplot.subplots(figsize=(6, 3.2), layout="constrained")
    gaps = [100 * row["minus_last"] for row in rows.values()]
    errors = [100 * row["minus_last_standard_error"] for row in rows.values()]
    axis.errorbar(list(rows), gaps, errors, fmt="o", capsize=4)
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_ylabel(f"accuracy − {list(rows)[-1]} (points)")
    targets = ", ".join(found["targets"])
    axis.set_title(f"{found['method']} on {found['dataset']} at {found['image_size']} px: {targets}")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
