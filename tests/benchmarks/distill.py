#!/usr/bin/env python3
"""Time the whole `dgdd distill` against the plain published loop, both in this run.

    python tests/benchmarks/distill.py --dataset digits --out distill-digits.json
    python tests/benchmarks/distill.py --dataset pacs --data ~/datasets --out distill-pacs.json

`dgdd distill` runs end to end as a command: Python's start, reading (nothing cached), the probe bank, every step and
the writing of the bundle. Of the plain loop a few steps are timed before and after each command, and their mean is
multiplied (`extrapolated`); its reading and its start count as nothing, and its networks are 128 wide, as published.
`--width 128` gives ours the same width.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import circumstances, parser_of, publish, seconds_of, sources_of, with_dataset
from plain_loop import plain_inputs, plain_steps

from dgdd_cli.runtime.device import choose_device
from dgdd_cli.runtime.memory import keep_freed_memory


def main(arguments: Sequence[str] | None = None) -> None:
    parser = with_dataset(parser_of(__doc__))
    parser.add_argument("--methods", default="dm,sgs")
    parser.add_argument("--steps", default="200,1000", help="lengths of the distillations, with commas")
    parser.add_argument("--width", type=int, help="width of dgdd's probes; default: the recipe's own")
    parser.add_argument("--plain-steps", type=int, default=3, help="steps of the plain loop that are timed")
    options = parser.parse_args(arguments)
    keep_freed_memory()  # for the plain loop too: the command does it by itself
    chosen = choose_device(options.device)
    located, source = sources_of(options)
    inputs = plain_inputs(source, options.ipc, chosen.device)
    plain_steps(*inputs, 1)

    def plain() -> float:
        return seconds_of(lambda: plain_steps(*inputs, options.plain_steps), chosen.device) / options.plain_steps

    found: dict[str, dict[str, Any]] = {}
    before = plain()
    for method in options.methods.split(","):
        for steps in map(int, options.steps.split(",")):
            seconds = command_seconds(options, method, steps)
            after = plain()
            extrapolated = steps * (before + after) / 2
            found[f"{method} {steps} steps"] = {
                "command_seconds": seconds,
                "plain_seconds_a_step": [before, after],
                "plain_seconds_extrapolated": extrapolated,
                "plain_over": extrapolated / seconds,
            }
            before = after
    report: dict[str, Any] = {
        "schema": "dgdd.benchmark.distill/1",
        "dataset": located.name,
        "image_size": options.image_size,
        "ipc": options.ipc,
        "source_images": len(source),
        "width": options.width or "the recipe's own",
        **circumstances(chosen, options),
        "plain_steps_timed": options.plain_steps,
        "measured": found,
        "plain_over": {name: figures["plain_over"] for name, figures in found.items()},
    }
    publish(report, options.out)


def command_seconds(options: argparse.Namespace, method: str, steps: int) -> float:
    """Wall seconds of one `dgdd distill` with an empty cache. Raises CalledProcessError when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dgdd_cli", "distill", options.dataset, "--method", method]
        command += ["--steps", str(steps), "--ipc", str(options.ipc), "--image-size", str(options.image_size)]
        command += ["--device", options.device, "--out", str(Path(folder) / "bundle.safetensors"), "-q"]
        command += ["--cache-dir", folder, "--progress", "none"]
        command += ["--data", str(options.data)] if options.data else []
        command += ["--set", f"probes.width={options.width}"] if options.width else []
        settings = {name: value for name, value in os.environ.items() if not name.startswith("DGDD_")}
        began = time.perf_counter()
        subprocess.run(command, env=settings, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
