#!/usr/bin/env python3
"""Time to a given accuracy on the held-out domain: the plain published loop against `dgdd`, both in this run.

    python tests/benchmarks/accuracy.py --dataset digits --image-size 16 --out accuracy-digits.json

Every side starts from the same images, with the sources in memory. The plain loop distils for `--seconds`, dgdd makes
its `--steps`, probe bank included. Snapshots are taken at given wall seconds and at the end; training and testing on
them stop the clock. The plain loop runs at its published image rate 1 and at others, and the fastest counts. A
snapshot is stored as bytes, like a bundle. The width of the plain loop's networks is 128, as published, that of dgdd's
its recipe's.

An accuracy is reached between the last snapshot below it and the first at or above it, by linear interpolation in
time; the images before the first step count at the end of the first step. Reached by them: 0. Never: null.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from curve import Judge, Points, on_the_clock, seconds_to
from measure import circumstances, parser_of, publish, sources_of, with_dataset
from plain_loop import plain_inputs, plain_steps
from torch import Tensor

from dgdd_cli.augment import for_dataset
from dgdd_cli.config import Protocol, resolve
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.held import Held
from dgdd_cli.data.load import read
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.engine.distill import distill, initial_state
from dgdd_cli.evaluation.compare import compare
from dgdd_cli.evaluation.contestant import TrainingSet
from dgdd_cli.evaluation.contestants import baseline_contestant
from dgdd_cli.methods.complete import complete
from dgdd_cli.methods.state import State
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import choose_device, given
from dgdd_cli.runtime.memory import keep_freed_memory
from dgdd_cli.synthesis.labels import Labels
from dgdd_cli.synthesis.pixels import to_bytes, to_unit


def main(arguments: Sequence[str] | None = None) -> None:
    parser = with_dataset(parser_of(__doc__), image_size=16)
    parser.add_argument("--accuracy", default="0.7", help="one or several with commas")
    parser.add_argument("--seconds", type=float, default=32, help="of the plain loop, each rate")
    parser.add_argument("--snapshots", type=int, default=6, help="each at twice the seconds of the one before")
    parser.add_argument("--methods", default="dm,sgs")
    parser.add_argument("--plain-rates", default="1,0.5")
    parser.add_argument("--steps", type=int, default=200, help="of dgdd, whose rate falls to 0 over them")
    parser.add_argument("--repeats", type=int, default=2, help="trainings of a snapshot")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--width", type=int, default=64, help="of the networks trained on a snapshot")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    chosen = choose_device(options.device)
    located, source = sources_of(options)
    if located.default_target is None:
        parser.error(f"{located.name} has no default target to test on")
    target = read(located, image_size=options.image_size, domains=[located.default_target])
    judge = judge_of(source, target, options, chosen.device)
    curves: dict[str, Points] = {}
    for rate in options.plain_rates.split(","):
        curves[f"plain rate {rate}"] = plain_curve(source, float(rate), options, chosen.device, judge)
    for method in options.methods.split(","):
        curves[method] = our_curve(source, method, options, chosen.device, judge)
    wanted = [float(accuracy) for accuracy in options.accuracy.split(",")]
    reached = {str(a): {name: seconds_to(a, points) for name, points in curves.items()} for a in wanted}
    report: dict[str, Any] = {
        "schema": "dgdd.benchmark.accuracy/1",
        "dataset": located.name,
        "target": target.domain_names[0],
        "image_size": options.image_size,
        "ipc": options.ipc,
        "plain_seconds": options.seconds,
        "steps": options.steps,
        "protocol": {"epochs": options.epochs, "width": options.width, "repeats": options.repeats},
        **circumstances(chosen, options),
        "curves": {name: [{"seconds": t, "accuracy": a} for t, a in points] for name, points in curves.items()},
        "seconds_to_accuracy": reached,
        "plain_over": {a: ratios(found, options.seconds) for a, found in reached.items()},
    }
    publish(report, options.out)


def judge_of(source: DomainDataset, target: DomainDataset, options: argparse.Namespace, device: torch.device) -> Judge:
    """Mean accuracy on the target of the networks trained on images stored as bytes."""
    protocol = Protocol(epochs=options.epochs, width=options.width, augment=for_dataset("auto", source.name))
    labels = torch.arange(len(source.class_names)).repeat_interleave(options.ipc)
    norm = normalisation_of(source)
    real = baseline_contestant(Context(), "random", source, ipc=options.ipc, normalisation=norm, protocol=protocol)

    def judge(images: Tensor) -> float:
        stored = TrainingSet(Held(to_bytes(images).cpu()), Labels("hard", labels), torch.full_like(labels, -1))
        contestant = replace(real, name="snapshot", method="snapshot", draw=lambda repeat: stored)
        (result,) = compare(
            Context(chosen=given(device)),
            [contestant],
            {target.domain_names[0]: target},
            networks=["convnet"],
            repeats=options.repeats,
            protocol=protocol,
        )
        return statistics.fmean(score.accuracy for score in result.scores)

    return judge


def moments(options: argparse.Namespace) -> list[float]:
    """The wall seconds at which snapshots are due."""
    return [options.seconds / 2**i for i in reversed(range(options.snapshots))]


def plain_curve(
    source: DomainDataset, rate: float, options: argparse.Namespace, device: torch.device, judge: Judge
) -> Points:
    """The points of the plain loop at an image rate, which acts on normalised pixels."""
    norm = normalisation_of(source)
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (norm.mean, norm.std))
    inputs = plain_inputs(source, options.ipc, device)
    look, points = on_the_clock(inputs[2] * std + mean, moments(options), device, judge)
    plain_steps(*inputs, 10**9, rate=rate, watch=lambda synthetic: look(synthetic * std + mean))
    return points


def our_curve(
    source: DomainDataset, method: str, options: argparse.Namespace, device: torch.device, judge: Judge
) -> Points:
    """The points of a method of dgdd; the last is that of its finished images."""
    assigned = [f"optimiser.steps={options.steps}"]
    recipe = complete(resolve({"dataset": source.name, "method": method}, assignments=assigned).recipe, source.name)
    initial = initial_state(Context(seed=0, chosen=given(device)), source, recipe, ipc=options.ipc).tensors["images"]
    look, points = on_the_clock(initial, moments(options), device, judge)

    def keep(state: State) -> None:
        look(state.tensors["images"])

    done = distill(Context(seed=0, chosen=given(device)), source, recipe, ipc=options.ipc, keep=keep, keep_seconds=0)
    look(to_unit(done.images), last=True)
    return points


def ratios(reached: dict[str, float | None], spent: float) -> dict[str, Any]:
    """The fastest plain loop over each method that had to step; if none got there, its seconds, a lower bound."""
    plain = [seconds for name, seconds in reached.items() if name.startswith("plain") and seconds is not None]
    ours = {name: seconds for name, seconds in reached.items() if not name.startswith("plain") and seconds}
    return {
        "at_least": not plain,
        **{name: (min(plain) if plain else spent) / seconds for name, seconds in ours.items()},
    }


if __name__ == "__main__":
    main()
