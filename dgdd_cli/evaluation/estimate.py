"""What an evaluation takes, before it starts: its memory from sizes, its time by a small pass, and what would fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from dgdd_cli.config import Protocol
from dgdd_cli.data.held import resident_bytes
from dgdd_cli.networks import NETWORKS
from dgdd_cli.networks.footprint import ACTIVATIONS, COPIES, MOST, backward_bytes, footprint
from dgdd_cli.networks.pace import seconds_an_image
from dgdd_cli.runtime.estimate import Estimate, Option, halves, in_use, require_room
from dgdd_cli.text import plural


class Work(NamedTuple):
    """Trainings of one network on sets of one size, each of which sees `seen` images; `at_once` of them in lockstep."""

    network: str
    trainings: int
    seen: int
    images: int
    at_once: int = 1


def estimate_evaluation(
    works: Sequence[Work], protocol: Protocol, *, classes: int, image_size: int, tests: int, device: torch.device
) -> Estimate:
    """All trainings, each tested on `tests` images."""
    seconds = 0.0
    for network in dict.fromkeys(work.network for work in works):
        back, forward = (_seconds(network, protocol, image_size, device, backward=way) for way in (True, False))
        own = [work for work in works if work.network == network]
        seconds += sum(work.trainings * (work.seen * back + tests * forward) for work in own)
    trainings, most = sum(work.trainings for work in works), max(work.images for work in works)
    least = min(work.images for work in works)
    sets = plural(most, "image") if least == most else f"{least} to {plural(most, 'image')}"
    return Estimate(
        evaluation_bytes(works, protocol, classes=classes, image_size=image_size, tests=tests, device=device),
        seconds,
        f"{plural(trainings, 'training')} on {sets}, each tested on {plural(tests, 'image')}",
    )


def evaluation_bytes(
    works: Sequence[Work], protocol: Protocol, *, classes: int, image_size: int, tests: int, device: torch.device
) -> int:
    """Bytes of the device beside what is taken now, at the peak of the largest training or test."""
    pixels, found = 3 * image_size**2, 0
    for work in works:
        batch = min(protocol.batch + 1, work.images)  # a last image alone joins the batch before
        passed = backward_bytes(work.network, images=batch, image_size=image_size, width=protocol.width, of="weights")
        weights = _network_bytes(work.network, protocol, classes=classes, image_size=image_size)
        training = work.at_once * (passed + 4 * COPIES * batch * pixels + 2 * weights)  # their velocities too
        peak = footprint(work.network, image_size=image_size, width=protocol.width).peak
        test = peak * max(1, min(MOST, tests, ACTIVATIONS // peak))
        moved = resident_bytes([tests * pixels, *[work.images * pixels] * work.at_once], device)
        found = max(found, in_use(max(training, test), device) + moved)
    return found


def require_room_to_evaluate(
    works: Sequence[Work], protocol: Protocol, *, classes: int, image_size: int, tests: int, device: torch.device
) -> None:
    """Raise UsageError, with options that would fit, where the free memory of the device cannot hold the work."""

    def needed(**changed: int) -> int:
        other = protocol.model_copy(update=changed)
        return evaluation_bytes(works, other, classes=classes, image_size=image_size, tests=tests, device=device)

    def smaller() -> Iterator[list[Option]]:
        yield [(f"--set batch={batch}", needed(batch=batch)) for batch in halves(protocol.batch, 4)]
        yield [(f"--set width={width}", needed(width=width)) for width in halves(protocol.width, 16)]

    require_room(needed(), device, smaller())


def _seconds(name: str, protocol: Protocol, image_size: int, device: torch.device, *, backward: bool) -> float:
    return seconds_an_image(
        name,
        "weights" if backward else "forward",
        image_size=image_size,
        width=protocol.width,
        device=device,
        autocast=protocol.precision == "bfloat16",
    )


def _network_bytes(name: str, protocol: Protocol, *, classes: int, image_size: int) -> int:
    with torch.device("meta"):
        network = NETWORKS[name](num_classes=classes, image_size=image_size, width=protocol.width)
    return sum(parameter.nbytes for parameter in network.parameters())
