#!/usr/bin/env python3
"""Time a distillation step against the plain published loop, both in this run: ratios of medians.

    python tests/benchmarks/step.py --dataset digits --out step-digits.json
    python tests/benchmarks/step.py --dataset pacs --data ~/datasets --out step-pacs.json

A step of dgdd is timed inside its own loop, on a small bank; the plain loop is timed before, between and after the
methods. Run by hand, on an idle machine. Prints JSON with the device's name and the versions.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from in_loop import step_seconds
from measure import circumstances, parser_of, publish, seconds_of, sources_of, with_dataset
from plain_loop import plain_inputs, plain_steps

from dgdd_cli.config import resolve
from dgdd_cli.methods.complete import complete
from dgdd_cli.runtime.device import choose_device, computes_bfloat16
from dgdd_cli.runtime.memory import keep_freed_memory, peak_memory_bytes
from dgdd_cli.runtime.precision import has_tf32

METHODS = ("dm", "dm-balanced", "sgs")
SAID = {"float32": "", "tf32": " TF32", "bfloat16": " bfloat16"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = with_dataset(parser_of(__doc__))
    parser.add_argument("--widths", default="128,64", help="probe widths; the plain loop always uses 128")
    parser.add_argument("--precisions", help="of the probes; default: all that the device has")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plain-rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    chosen = choose_device(options.device)
    located, source = sources_of(options)
    device, widths = chosen.device, options.widths.split(",")
    has = {"float32": True, "tf32": has_tf32(device), "bfloat16": computes_bfloat16(device)}
    available = [name for name in SAID if has[name]]
    precisions = options.precisions.split(",") if options.precisions else available
    if unknown := set(precisions) - set(SAID):
        parser.error(f"--precisions: {', '.join(sorted(unknown))} is not one of {', '.join(SAID)}")
    variants = {width + SAID[name]: (width, name) for width in widths for name in precisions}
    inputs = plain_inputs(source, options.ipc, device)
    plain_steps(*inputs, 1)
    plain = [seconds_of(lambda: plain_steps(*inputs, 1), device) for _ in range(options.plain_rounds)]
    figures: dict[str, Any] = {}
    for variant, (width, precision) in variants.items():
        for method in METHODS:
            settings = [f"probes.width={width}", f"probes.precision={precision}"]
            run = resolve({"dataset": source.name, "method": method}, assignments=settings)
            recipe = complete(run.recipe, source.name)
            timed = step_seconds(source, recipe, ipc=options.ipc, rounds=options.rounds, device=device)
            figures[f"{method} width {variant}"] = {"step": timed.step, "probe": timed.probe}
            plain.append(seconds_of(lambda: plain_steps(*inputs, 1), device))
    figures = {"plain": statistics.median(plain), **figures}
    report = {
        "schema": "dgdd.benchmark.step/1",
        "dataset": located.name,
        "image_size": options.image_size,
        "ipc": options.ipc,
        "source_images": len(source),
        **circumstances(chosen, options),
        "median_seconds": figures,
        "plain_over": {name: figures["plain"] / f["step"] for name, f in figures.items() if name != "plain"},
        "sgs_over_dm": {v: figures[f"sgs width {v}"]["step"] / figures[f"dm width {v}"]["step"] for v in variants},
        "peak_memory_bytes": peak_memory_bytes(),
    }
    if chosen.device.type == "cuda":
        report["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(chosen.device)
    publish(report, options.out)


if __name__ == "__main__":
    main()
