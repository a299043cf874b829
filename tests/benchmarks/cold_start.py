#!/usr/bin/env python3
"""Time the commands that a person waits for at the prompt against a bare Python and against importing torch.

    python tests/benchmarks/cold_start.py --out cold_start.json

Each is a process of its own; the commands take turns, and the median of the rounds counts. The first round, which
fills the page cache and compiles bytecode, is not counted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from measure import circumstances, parser_of, publish

from dgdd_cli.runtime.device import choose_device

DGDD = [sys.executable, "-m", "dgdd_cli"]
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import torch": [sys.executable, "-c", "import torch"],
    "dgdd --help": [*DGDD, "--help"],
    "dgdd --version": [*DGDD, "--version"],
    "dgdd distill --help": [*DGDD, "distill", "--help"],
    "dgdd inspect": [*DGDD, "inspect"],
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    chosen = choose_device(options.device)
    settings = {name: value for name, value in os.environ.items() if not name.startswith("DGDD_")}
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.rounds + 1):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}
    ours = [name for name in COMMANDS if name.startswith("dgdd")]
    report = {
        "schema": "dgdd.benchmark.cold_start/1",
        **circumstances(chosen, options),
        "rounds": options.rounds,
        "median_seconds": medians,
        "over_python": {name: medians[name] / medians["python"] for name in ours},
        "over_import_torch": {name: medians[name] / medians["import torch"] for name in ours},
    }
    publish(report, options.out)


if __name__ == "__main__":
    main()
