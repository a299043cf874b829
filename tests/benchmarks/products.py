#!/usr/bin/env python3
"""Time the ways to the gradients of all domains in a step of sgs, beside a step of dm, inside the captured graph.

    python tests/benchmarks/products.py --dataset digits --out products-digits.json

`single`: one backward pass after the other. `batched`: side by side through one forward pass (what CUDA does).
`expanded`: one forward pass over as many copies of the images as there are products, and one ordinary backward pass.
All take turns on the same probes and have to agree before they are timed; on a CPU nothing is captured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import torch
from measure import circumstances, medians, parser_of, publish, sources_of, with_dataset
from torch import Tensor

from dgdd_cli.config import resolve
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.engine.distill import initial_state
from dgdd_cli.methods.capture import captured, cuda_graphs
from dgdd_cli.methods.cells import describe_cells
from dgdd_cli.methods.complete import complete
from dgdd_cli.methods.pooling import average
from dgdd_cli.methods.products import Pull, batched_products, single_products
from dgdd_cli.methods.step import StepGradient, pooled_gradient, surgical_gradient
from dgdd_cli.probes.source import probe_source
from dgdd_cli.probes.view import View
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import choose_device, given
from dgdd_cli.runtime.memory import keep_freed_memory

BANK = 6  # one probe of each augmentation on average


def main(arguments: Sequence[str] | None = None) -> None:
    parser = with_dataset(parser_of(__doc__))
    parser.add_argument("--widths", default="64,128", help="probe widths")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    chosen = choose_device(options.device)
    located, source = sources_of(options)
    device = chosen.device
    seconds = {width: timed(source, width, options, device) for width in options.widths.split(",")}
    report = {
        "schema": "dgdd.benchmark.products/1",
        "dataset": located.name,
        "image_size": options.image_size,
        "ipc": options.ipc,
        "products": len(source.domain_names) + 1,
        **circumstances(chosen, options),
        "median_seconds": seconds,
        "over_dm": {
            width: {name: value / of["dm"] for name, value in of.items() if name != "dm"}
            for width, of in seconds.items()
        },
    }
    publish(report, options.out)


def timed(source: DomainDataset, width: str, options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Median seconds of a step of dm, and of sgs in each way, with probes of a width."""
    run = resolve({"dataset": source.name, "method": "sgs"}, assignments=[f"probes.width={width}"])
    recipe = complete(run.recipe, source.name)
    assert recipe.matching
    assert recipe.probes
    assert recipe.surgery
    state = initial_state(Context(seed=0, chosen=given(device)), source, recipe, ipc=options.ipc)
    cells = describe_cells(state.labels, state.domains, source.counts().to(device), recipe.matching.weights)
    probes = recipe.probes.model_copy(update={"source": f"bank:{BANK}"})
    norm = normalisation_of(source)
    at = probe_source(Context(chosen=given(device)), source, probes, norm, steps=BANK)
    expanded = partial(expanded_products, len(source.domain_names) + 1)
    ways = {"single": single_products, "batched": batched_products, "expanded": expanded}
    steps = {"dm": pooled_gradient(average(recipe.matching, cells))}
    steps |= {
        name: surgical_gradient(recipe.matching, recipe.surgery, cells, products=way) for name, way in ways.items()
    }
    if device.type == "cuda":
        steps = {name: captured(step, cuda_graphs(device)) for name, step in steps.items()}

    def turn(step: StepGradient) -> list[Tensor]:
        images = state.tensors["images"].detach()
        return [step(images.clone().requires_grad_(), at(number), state.standing).update for number in range(BANK)]

    for name in ("batched", "expanded"):
        for one, other in zip(turn(steps["single"]), turn(steps[name]), strict=True):
            assert (one - other).norm() < 0.02 * one.norm(), f"{name} gives another gradient"
    works = {name: partial(turn, step) for name, step in steps.items()}
    found = medians(works, dict.fromkeys(works, options.rounds), device)
    return {name: value / BANK for name, value in found.items()}


def expanded_products(count: int, view: View, images: Tensor) -> tuple[Tensor, Pull]:
    """The features of images (N, 3, H, W), from a forward pass over `count` copies of them, and what takes as many
    cotangents back in one ordinary backward pass."""
    pixels = images.detach().repeat(count, 1, 1, 1).requires_grad_()
    features = view(pixels)

    def pull(cotangents: Tensor) -> Tensor:
        return torch.autograd.grad(features, pixels, cotangents.flatten(0, 1))[0].view(count, *images.shape)

    return features[: len(images)].detach(), pull


if __name__ == "__main__":
    main()
