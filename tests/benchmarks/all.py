#!/usr/bin/env python3
"""Run every benchmark of this folder on the device that is there, and say which targets were met.

    python tests/benchmarks/all.py --out DIR --datasets digits,pacs --data ~/datasets --minutes 60
    python tests/benchmarks/all.py --plan cuda --out DIR

Each benchmark is a process of its own and writes `<benchmark>-<dataset>-<device type>.json` to DIR (without the
dataset where it reads none); `<device type>.json` lists the targets with what this run measured. One that fails does
not stop the others; the exit status is 1 if any failed or was left out for want of time. A target that was missed is
reported and is no failure. On CUDA the tests marked `gpu` run too. `--plan` measures nothing and lists the targets.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measure import circumstances
from targets import planned, verdict

from dgdd_cli.engine.device import choose_device

HERE = Path(__file__).resolve().parent
READS = ("step", "evaluation", "distill", "risk", "accuracy")  # these take --dataset and --data
FIRST = ("gpu_tests", "kernels", "cold_start", "step", "evaluation", "distill")  # then the others; time may run out
LAST = ("accuracy",)
CUDA_ONLY = ("gpu_tests",)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files")
    parser.add_argument("--datasets", default="digits", help="with commas")
    parser.add_argument("--data", type=Path, help="folder that holds the datasets")
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="time for all of them")
    parser.add_argument("--only", help="names of benchmarks, with commas")
    parser.add_argument("--plan", metavar="DEVICE_TYPE", help="list the targets of cpu or cuda as not run, and stop")
    parser.add_argument("--note", help="the circumstances of this run, kept in every JSON")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    datasets = options.datasets.split(",")
    if options.plan:
        lines = [verdict(target, dataset, None) for target, dataset in planned(options.plan, datasets)]
        write(options.out / f"{options.plan}.json", {"device_type": options.plan, "device": "none", "targets": lines})
        return 0
    chosen = choose_device("auto")
    kind = chosen.device.type
    names = [name for name in benchmarks(kind) if not options.only or name in options.only.split(",")]
    if not names:
        parser.error(f"no such benchmark; there are {', '.join(benchmarks(kind))}")
    until = time.monotonic() + 60 * options.minutes
    states: dict[str, str] = {}
    documents: dict[tuple[str, str | None], dict[str, Any]] = {}
    for name, dataset in ((each, dataset) for each in names for dataset in (datasets if each in READS else [None])):
        out = options.out / ("-".join(filter(None, (name, dataset, kind))) + ".json")
        print(f"{out.name} ...", file=sys.stderr, flush=True)
        states[out.name], wrote = run(command_of(name, dataset, options), out, until - time.monotonic())
        if wrote:
            documents[name, dataset] = json.loads(out.read_text(encoding="utf-8"))
    lines = [
        verdict(target, dataset, documents.get((target.benchmark, dataset)))
        for target, dataset in planned(kind, datasets)
    ]
    write(options.out / f"{kind}.json", {**circumstances(chosen, options), "runs": states, "targets": lines})
    for line in lines:
        word = "not run" if "met" not in line else "met" if line["met"] else "MISSED"
        where = f" ({line['dataset']})" if line["dataset"] else ""
        print(f"{word:8} {line['says']}{where}: {line['measured']}, target {line['target']}")
    for file, state in states.items():
        if state != "done":
            print(f"{file}: {state}")
    return int(any(state != "done" for state in states.values()))


def benchmarks(device_type: str) -> list[str]:
    """The scripts of this folder that make sense on a device type, the important ones first."""
    scripts = [path for path in sorted(HERE.glob("*.py")) if path != Path(__file__).resolve()]
    found = [path.stem for path in scripts if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
    found = [name for name in found if name not in CUDA_ONLY or device_type == "cuda"]
    between = [name for name in found if name not in (*FIRST, *LAST)]
    return [name for name in (*FIRST, *between, *LAST) if name in found]


def command_of(name: str, dataset: str | None, options: argparse.Namespace) -> list[str]:
    """The command line of a benchmark, without its --out."""
    command = [sys.executable, str(HERE / f"{name}.py")]
    command += ["--dataset", dataset] if dataset else []
    command += ["--data", str(options.data)] if dataset and options.data else []
    return command + (["--note", options.note] if options.note else [])


def run(command: list[str], out: Path, seconds: float) -> tuple[str, bool]:
    """Run a benchmark for at most `seconds` and move what it wrote to `out`: how it ended, and whether it wrote."""
    if seconds <= 0:
        return "not run: no time left", False
    part = out.with_name(out.name + ".part")
    command = [*command, "--out", str(part)]
    # A group of its own: the processes that a benchmark starts end with it.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        status = process.wait(None if seconds == float("inf") else seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        part.unlink(missing_ok=True)
        if isinstance(error, subprocess.TimeoutExpired):
            return f"stopped after {seconds:.0f} s: no time left", False
        raise
    wrote = part.exists()
    if wrote:
        part.replace(out)
    return "done" if status == 0 and wrote else f"failed with exit status {status}", wrote


def write(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
