#!/usr/bin/env python3
"""Time a distillation step against the plain published loop, both in this run: ratios of medians.

    python tests/benchmarks/step.py --dataset digits --out step-digits.json
    python tests/benchmarks/step.py --dataset pacs --data ~/datasets --out step-pacs.json

Run by hand, on an idle machine. Prints a table and writes JSON with the device's name and the versions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from plain_loop import plain_steps

from dgdd_cli.augment import for_dataset
from dgdd_cli.config import resolve
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.load import locate, read
from dgdd_cli.engine.describe import software
from dgdd_cli.engine.device import choose_device
from dgdd_cli.engine.distill import complete, initial_state, normalisation_of
from dgdd_cli.engine.memory import keep_freed_memory, peak_memory_bytes
from dgdd_cli.engine.probes import probe_source
from dgdd_cli.engine.step import describe_cells, pooled_gradient, surgical_gradient
from dgdd_cli.progress import silent
from dgdd_cli.synthesis.pixels import normalise, to_unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--widths", default="128,64", help="probe widths; the plain loop always uses 128")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plain-rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    chosen = choose_device(options.device)
    located = locate(options.dataset, data_dir=options.data)
    sources = tuple(name for name in located.domain_names if name != located.default_target)
    source = read(located, image_size=options.image_size, domains=sources)
    figures: dict[str, Any] = {"plain": plain_seconds(source, options, chosen.device)}
    for width in options.widths.split(","):
        for method in ("dm", "dm-balanced", "sgs"):
            figures[f"{method} width {width}"] = ours(source, method, int(width), options, chosen.device)
    report = {
        "schema": "dgdd.benchmark.step/1",
        "dataset": located.name,
        "image_size": options.image_size,
        "ipc": options.ipc,
        "source_images": len(source),
        "device": chosen.name,
        "threads": torch.get_num_threads(),
        "software": software(),
        "median_seconds": figures,
        "plain_over": {name: figures["plain"] / f["step"] for name, f in figures.items() if name != "plain"},
        "sgs_over_dm": {
            w: figures[f"sgs width {w}"]["step"] / figures[f"dm width {w}"]["step"] for w in options.widths.split(",")
        },
        "peak_memory_bytes": peak_memory_bytes(),
    }
    print(json.dumps(report, indent=1))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def plain_seconds(source: DomainDataset, options: argparse.Namespace, device: torch.device) -> float:
    """Median seconds of one step of the plain loop."""
    norm = normalisation_of(source)
    mean, std = torch.tensor(norm.mean), torch.tensor(norm.std)
    images = normalise(to_unit(source.images), mean, std).to(device)
    run = resolve({"dataset": source.name, "method": "balanced-random"})
    state = initial_state(source, run.recipe, ipc=options.ipc, seed=0, device=device)
    synthetic = normalise(state.images.cpu(), mean, std).to(device)
    labels = source.labels.to(device)
    strategy = for_dataset("auto", source.name)
    classes = len(source.class_names)
    return median(lambda: plain_steps(images, labels, synthetic, classes, strategy, 1), options.plain_rounds, device)


def ours(
    source: DomainDataset, method: str, width: int, options: argparse.Namespace, device: torch.device
) -> dict[str, float]:
    """Median seconds of a step on a bank, and of one probe of the bank."""
    assigned = [f"probes.width={width}"]
    recipe = complete(resolve({"dataset": source.name, "method": method}, assignments=assigned).recipe, source.name)
    matching, probes = recipe.matching, recipe.probes
    assert matching
    assert probes
    state = initial_state(source, recipe, ipc=options.ipc, seed=0, device=device)
    cells = describe_cells(state.labels, state.domains, source.counts().to(device), matching.weights)
    gradient = (
        surgical_gradient(matching, recipe.surgery, cells) if recipe.surgery else pooled_gradient(matching, cells)
    )
    size = 6  # one probe of each augmentation on average, so that a cheap operation does not stand for all
    norm = normalisation_of(source)
    small = probes.model_copy(update={"source": f"bank:{size}"})
    began = time.perf_counter()
    at = probe_source(source, small, norm, seed=0, steps=size, device=device, progress=silent)
    bank = (time.perf_counter() - began) / size
    steps = [lambda step=step: gradient(state.images.clone().requires_grad_(), at(step)) for step in range(size)]
    seconds = [median(step, options.rounds, device) for step in steps]
    return {"step": statistics.fmean(seconds), "probe": bank}


def median(work: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Median wall seconds of `work` over `rounds` runs after one that is not counted."""
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
