#!/usr/bin/env python3
"""Time R repeats of an evaluation against one, both in this run, and a training step of each.

    python tests/benchmarks/evaluation.py --dataset digits --repeats 10 --out evaluation-digits.json

The training set is balanced real images of the sources, as large as a distilled one: what is trained on does not
change the time. An evaluation is training and the test on the default target. The seconds of a training step are the
difference between two lengths of training, so that building the networks and the test do not count; with R repeats
a step is one step of all R.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

from measure import circumstances, medians, parser_of, publish, sources_of, with_dataset

from dgdd_cli.augment import for_dataset
from dgdd_cli.config import Protocol
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.load import read
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.evaluation.compare import compare
from dgdd_cli.evaluation.contestants import baseline_contestant
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import Choice, choose_device, given
from dgdd_cli.runtime.memory import keep_freed_memory


def main(arguments: Sequence[str] | None = None) -> None:
    parser = with_dataset(parser_of(__doc__))
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--width", type=int, default=Protocol().width)
    parser.add_argument("--precision", default=Protocol().precision, choices=("float32", "tf32", "bfloat16"))
    parser.add_argument("--network", default="convnet")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    chosen = choose_device(options.device)
    located, source = sources_of(options)
    if located.default_target is None:
        parser.error(f"{located.name} has no default target to test on")
    target = read(located, image_size=options.image_size, domains=[located.default_target])
    short, long = max(1, options.epochs // 4), options.epochs
    works = {
        f"{repeats} x {epochs} epochs": evaluation(source, target, options, chosen, repeats, epochs)
        for repeats in (1, options.repeats)
        for epochs in (short, long)
    }
    seconds = medians(works, dict.fromkeys(works, options.rounds), chosen.device)
    steps = (long - short) * math.ceil(options.ipc * len(source.class_names) / Protocol().batch)
    one, many = (
        (seconds[f"{repeats} x {long} epochs"] - seconds[f"{repeats} x {short} epochs"]) / max(1, steps)
        for repeats in (1, options.repeats)
    )
    report: dict[str, Any] = {
        "schema": "dgdd.benchmark.evaluation/1",
        "dataset": located.name,
        "image_size": options.image_size,
        "training_images": options.ipc * len(source.class_names),
        "test_images": len(target),
        "network": options.network,
        "width": options.width,
        "precision": options.precision,
        "repeats": options.repeats,
        "rounds": options.rounds,
        **circumstances(chosen, options),
        "median_seconds": seconds,
        "repeats_over_one": seconds[f"{options.repeats} x {long} epochs"] / seconds[f"1 x {long} epochs"],
        "seconds_a_training_step": {"one": one, "all repeats": many},
        "training_step_repeats_over_one": many / one,
    }
    publish(report, options.out)


def evaluation(
    source: DomainDataset,
    target: DomainDataset,
    options: argparse.Namespace,
    chosen: Choice,
    repeats: int,
    epochs: int,
) -> Callable[[], object]:
    """What trains `repeats` networks and tests each."""
    protocol = Protocol(
        epochs=epochs,
        width=options.width,
        precision=options.precision,
        augment=for_dataset("auto", source.name),
    )
    contestant = baseline_contestant(
        Context(), "balanced-random", source, ipc=options.ipc, normalisation=normalisation_of(source), protocol=protocol
    )
    targets = {target.domain_names[0]: target}

    return lambda: compare(
        Context(chosen=given(chosen.device)),
        [contestant],
        targets,
        networks=[options.network],
        repeats=repeats,
        protocol=protocol,
    )


if __name__ == "__main__":
    main()
