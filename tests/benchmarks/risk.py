#!/usr/bin/env python3
"""What a risk over groups, and K-means in the loop, cost of a step: with and without, both in this run.

    python tests/benchmarks/risk.py --dataset digits --out risk-digits.json

Each pair differs in one part of the recipe. Its two sides run turn about, so that a machine whose speed changes slows
both; the share is the median over these pairs of turns, and `quartiles` show how far they spread. The sides of `rdd`
train their networks on other augmentations, some of them dearer: many turns (lives of a network) average over those.
`find_groups` is the K-means of the groups before the loop, once a run, in seconds. `rdd` finds the clusters of its
representatives before the loop too: of the last pair the share is that of a whole run, start included.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from in_loop import in_turns, run_turns, turn_of
from measure import circumstances, parser_of, publish, seconds_of, sources_of, with_dataset

from dgdd_cli.config import Recipe, resolve
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.engine.distill import distill
from dgdd_cli.groups.find import Groups, find_groups
from dgdd_cli.methods.complete import complete
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import choose_device, given
from dgdd_cli.runtime.memory import keep_freed_memory

GROUPS = "kmeans:4"
CVAR = {"risk": {"name": "cvar", "groups": GROUPS}}
RDD = {"risk": {"groups": GROUPS}}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = with_dataset(parser_of(__doc__))
    parser.add_argument("--rounds", type=int, default=25, help="turns of each side, after one that is not counted")
    parser.add_argument("--pairs", default="dm-balanced,sgs,rdd,rdd kmeans", help="which, with commas")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    chosen = choose_device(options.device)
    located, source = sources_of(options)
    began = time.perf_counter()
    groups = find_groups(Context(), source, GROUPS)
    finding = time.perf_counter() - began
    wanted = options.pairs.split(",")
    variants = {name: pair for name, pair in pairs(located.name).items() if name in wanted}
    starts: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(3):
        for kind, recipe in zip(starts, variants.get("rdd kmeans", ()), strict=False):
            starts[kind].append(start_seconds(source, recipe, options.ipc, chosen.device, groups))
    turns = {
        name: seconds_of_steps(source, pair, options.ipc, options.rounds, chosen.device, groups)
        for name, pair in variants.items()
    }
    shares = {
        name: [1 - without / with_ for with_, without in zip(*found.values(), strict=True)]
        for name, found in turns.items()
    }
    medians = {name: {kind: statistics.median(of) for kind, of in found.items()} for name, found in turns.items()}
    report = {
        "schema": "dgdd.benchmark.risk/1",
        "dataset": located.name,
        "image_size": options.image_size,
        "ipc": options.ipc,
        "source_images": len(source),
        "groups": GROUPS,
        "groups_found": len(groups.names),
        "find_groups_seconds": finding,
        **circumstances(chosen, options),
        "turns": turns,
        "median_seconds": medians,
        "share_of_step": {name: statistics.median(found) for name, found in shares.items()},
        "quartiles": {name: statistics.quantiles(found) for name, found in shares.items()},
    }
    if "rdd kmeans" in variants:
        report["start_seconds"] = starts
        report["share_of_run"] = {"rdd kmeans": share_of_run(variants["rdd kmeans"][0], medians["rdd kmeans"], starts)}
    publish(report, options.out)


def seconds_of_steps(
    source: DomainDataset, pair: tuple[Recipe, Recipe], ipc: int, rounds: int, device: torch.device, groups: Groups
) -> dict[str, list[float]]:
    """The mean seconds of a step in each turn of the recipes with and without the part in question."""

    def loop(recipe: Recipe) -> Callable[[Callable[[], None]], object]:
        held = groups if recipe.risk else None
        return lambda ended: run_turns(source, recipe, ended, ipc, rounds, device, groups=held)

    found = in_turns([loop(recipe) for recipe in pair])
    return {
        kind: [seconds / turn_of(recipe) for seconds in of_side]
        for kind, recipe, of_side in zip(("with", "without"), pair, found, strict=True)
    }


def start_seconds(source: DomainDataset, recipe: Recipe, ipc: int, device: torch.device, groups: Groups) -> float:
    """Seconds of a distillation of no steps: what comes before the first."""
    assert recipe.optimiser
    still = recipe.model_copy(update={"optimiser": recipe.optimiser.model_copy(update={"steps": 0})})
    return seconds_of(
        lambda: distill(
            Context(seed=0, chosen=given(device)), source, still, ipc=ipc, groups=groups if recipe.risk else None
        ),
        device,
    )


def share_of_run(recipe: Recipe, step: Mapping[str, float], starts: Mapping[str, list[float]]) -> float:
    """The share of the recipe's whole run that the part in question takes."""
    assert recipe.optimiser
    seconds = {side: statistics.median(starts[side]) + recipe.optimiser.steps * step[side] for side in starts}
    return 1 - seconds["without"] / seconds["with"]


def pairs(dataset: str) -> dict[str, tuple[Recipe, Recipe]]:
    """A recipe with the part in question and the same recipe without it."""

    def recipe(method: str, tables: Mapping[str, Any]) -> Recipe:
        return complete(resolve({"dataset": dataset, "method": method, "recipe": tables}).recipe, dataset)

    rdd = recipe("rdd", RDD)
    assert rdd.probes
    at_random = rdd.model_copy(update={"probes": rdd.probes.model_copy(update={"select": "random"})})
    return {
        "dm-balanced": (recipe("dm-balanced", CVAR), recipe("dm-balanced", {})),
        "sgs": (recipe("sgs", CVAR), recipe("sgs", {})),
        "rdd": (rdd, rdd.model_copy(update={"risk": None})),
        "rdd kmeans": (rdd, at_random),
    }


if __name__ == "__main__":
    main()
