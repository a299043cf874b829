#!/usr/bin/env python3
"""Run every benchmark of this folder on the device that is there, and say which targets were met.

    python tests/benchmarks/all.py --out DIR --datasets digits,pacs --data ~/datasets --minutes 8
    python tests/benchmarks/all.py --plan cuda --out DIR

One process runs one benchmark after the other, the important ones first; a new one takes over where one fails. As
soon as it ends, each writes `<benchmark>-<dataset>-<device type>.json` to DIR (without the dataset where it reads
none), and `<device type>.json` lists the targets with what was measured so far. When the time is over the one that
runs is stopped, and what is left says "not run: out of time". The exit status is 1 if any failed, was stopped or was
left out; a target that was missed is reported and is no failure. On CUDA the tests marked `gpu` run too, and some
benchmarks are shorter (see jobs.py). `--plan` measures nothing and lists the targets.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from jobs import TIERS, WROTE, jobs_of, run_jobs, start
from targets import planned, verdict

WORKER = [sys.executable, str(Path(__file__).resolve().with_name("worker.py"))]
CUDA_MINUTES = 8.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files")
    parser.add_argument("--datasets", default="digits", help="with commas")
    parser.add_argument("--data", type=Path, help="folder that holds the datasets")
    parser.add_argument(
        "--minutes", type=float, help=f"time for all of them (default: {CUDA_MINUTES:g} on CUDA, else any)"
    )
    parser.add_argument("--only", help="names of benchmarks, with commas")
    parser.add_argument("--plan", metavar="DEVICE_TYPE", help="list the targets of cpu or cuda as not run, and stop")
    parser.add_argument("--note", help="the circumstances of this run, kept in every JSON")
    options = parser.parse_args()
    began = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    datasets = options.datasets.split(",")
    if options.plan:
        lines = [verdict(target, dataset, None) for target, dataset in planned(options.plan, datasets)]
        write(options.out / f"{options.plan}.json", {"device_type": options.plan, "device": "none", "targets": lines})
        return 0
    known = {name for tier in TIERS for name in tier}
    only = set(options.only.split(",")) if options.only else known
    if unknown := only - known:
        parser.error(f"--only: {', '.join(sorted(unknown))} is not one of {', '.join(sorted(known))}")
    worker = start(WORKER, began + 60 * (options.minutes or CUDA_MINUTES))
    kind = str(worker.hello["device_type"])
    minutes = options.minutes or (CUDA_MINUTES if kind == "cuda" else float("inf"))
    common = ["--note", options.note] if options.note else []
    data = ["--data", str(options.data)] if options.data else []
    jobs = [job for job in jobs_of(kind, datasets, common=common, data=data) if job.name in only]
    states: dict[str, str] = {job.file(kind): "not run" for job in jobs}
    documents: dict[tuple[str, str | None], dict[str, Any]] = {}

    def report() -> list[dict[str, Any]]:
        lines = [
            verdict(target, dataset, documents.get((target.benchmark, dataset)))
            for target, dataset in planned(kind, datasets)
        ]
        said = {"minutes": None if minutes == float("inf") else minutes, "seconds": time.monotonic() - began}
        write(options.out / f"{kind}.json", {**worker.hello["circumstances"], **said, "runs": states, "targets": lines})
        return lines

    outs = [str(options.out.resolve() / job.file(kind)) for job in jobs]
    for job, state in run_jobs(worker, WORKER, jobs, outs, began + 60 * minutes):
        states[job.file(kind)] = state
        if state in WROTE:
            out = options.out / job.file(kind)
            documents[job.name, job.dataset] = json.loads(out.read_text(encoding="utf-8"))
        print(f"{time.monotonic() - began:4.0f} s  {job.file(kind)}: {state}", file=sys.stderr, flush=True)
        report()
    for line in report():
        word = "not run" if "met" not in line else "met" if line["met"] else "MISSED"
        where = f" ({line['dataset']})" if line["dataset"] else ""
        print(f"{word:8} {line['says']}{where}: {line['measured']}, target {line['target']}")
    return int(any(state != "done" for state in states.values()))


def write(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
