"""CUDA graphs of the synthetic step: hundreds of small kernels become one launch.

What differs from step to step (images, the probe's network, statistics and numbers, the groups' standing) is copied
into fixed buffers before the graph is replayed; the operation that augments is part of the graph, so each has its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dgdd_cli.methods.decoding import Seen
from dgdd_cli.methods.step import StepGradient
from dgdd_cli.probes.source import Probe

WARM_UP = 3  # runs before a capture, in which libraries choose their algorithms and Triton compiles

Capture = Callable[[Callable[[], None]], Callable[[], None]]  # work -> what repeats it on the same memory


@dataclass(slots=True, eq=False)
class _Lane:
    """The buffers of one operation, and the work that reads them and leaves its findings."""

    images: Tensor
    probe: Probe
    standing: Tensor
    found: Seen | None = None
    replay: Callable[[], None] = lambda: None


def captured(gradient: StepGradient, capture: Capture) -> StepGradient:
    """`gradient` with the same results, recorded once for each operation of the augmentation and then replayed."""
    lanes: dict[str, _Lane] = {}

    def step(images: Tensor, probe: Probe, standing: Tensor) -> Seen:
        operation = probe.view.augmentation.operation
        lane = lanes.get(operation)
        if lane is None:
            lane = lanes[operation] = _open(images, probe, standing)
            lane.replay = capture(lambda: _work(lane, gradient))
        _load(lane, images, probe, standing)
        lane.replay()
        assert lane.found is not None
        figures = {name: value.clone() for name, value in lane.found.figures.items()}
        return Seen(lane.found.update.clone(), lane.found.standing.clone(), figures)

    return step


def cuda_graphs(device: torch.device) -> Capture:
    """Recording of work as CUDA graphs on `device`, all in one memory pool: results are copied out before another
    graph runs."""
    pool = torch.cuda.graph_pool_handle()

    def capture(work: Callable[[], None]) -> Callable[[], None]:
        with torch.cuda.device(device):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    work()
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # other threads, such as the watchdog of NCCL, may go on calling CUDA meanwhile
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                work()

        def replay() -> None:
            with torch.cuda.device(device):
                graph.replay()

        return replay

    return capture


def _open(images: Tensor, probe: Probe, standing: Tensor) -> _Lane:
    """Buffers of the shapes of these arguments, on the images' device."""
    view = probe.view
    own = replace(
        view,
        network=copy.deepcopy(view.network),
        augmentation=replace(view.augmentation, uniforms=view.augmentation.uniforms.to(images.device, copy=True)),
    )
    held = Probe(own, probe.cells.clone(), probe.group_cells.clone())
    return _Lane(images.detach().clone().requires_grad_(), held, standing.clone())


@torch.no_grad()
def _load(lane: _Lane, images: Tensor, probe: Probe, standing: Tensor) -> None:
    held = lane.probe.view
    pairs: list[tuple[Tensor, Tensor]] = [
        *zip(held.network.parameters(), probe.view.network.parameters(), strict=True),
        *zip(held.network.buffers(), probe.view.network.buffers(), strict=True),
        (held.augmentation.uniforms, probe.view.augmentation.uniforms),
        (lane.probe.cells, probe.cells),
        (lane.probe.group_cells, probe.group_cells),
        (lane.images, images),
        (lane.standing, standing),
    ]
    for buffer, value in pairs:
        buffer.copy_(value, non_blocking=True)


def _work(lane: _Lane, gradient: StepGradient) -> None:
    lane.found = gradient(lane.images, lane.probe, lane.standing)
