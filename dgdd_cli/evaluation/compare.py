"""Train on each contestant, test on each target: one training serves all targets, and all contestants share seeds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dgdd_cli.config import Protocol
from dgdd_cli.data.held import resident
from dgdd_cli.data.images import Images
from dgdd_cli.errors import DgddError
from dgdd_cli.evaluation.contestant import Contestant
from dgdd_cli.evaluation.estimate import Work, estimate_evaluation, require_room_to_evaluate
from dgdd_cli.evaluation.metrics import NO_GROUPS, Score, score
from dgdd_cli.evaluation.score_cache import ScoreCache
from dgdd_cli.evaluation.together import Repeats, choose_repeats
from dgdd_cli.evaluation.train import predict, steps_of
from dgdd_cli.evaluation.trainers import trainer_named
from dgdd_cli.evaluation.trainers.check import check_domains, check_labels, check_network
from dgdd_cli.evaluation.trainings import trainings
from dgdd_cli.networks import DRAWN, Backbone, blueprint, foreign_weights, normalised_by
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.estimate import sentence
from dgdd_cli.runtime.precision import check_precision, computing_in

log = logging.getLogger("dgdd")


@dataclass(frozen=True, slots=True)
class Result:
    """The repeats of one contestant with one network on one target, of `steps` optimiser steps each; `cached` of them
    were not trained but kept."""

    contestant: Contestant
    network: str
    target: str
    scores: tuple[Score, ...]
    steps: int
    weights: str  # where those of the network came from before it was trained
    cached: int = 0


@dataclass(frozen=True, slots=True)
class _Job:
    """One contestant with one network; `found[repeat][target]` fills up."""

    contestant: Contestant
    network: str
    how: Repeats
    found: dict[int, Mapping[str, Score]]
    cached: int
    missing: tuple[int, ...] = field(default=())


def compare(
    context: Context,
    contestants: Sequence[Contestant],
    targets: Mapping[str, Images],
    *,
    networks: Sequence[str],
    repeats: int,
    protocol: Protocol,
    groups: Mapping[str, Tensor] | None = None,
    num_groups: int = 0,
    kept: ScoreCache | None = None,
) -> list[Result]:
    """Every contestant x network x target, each over `repeats` trainings.

    Repeat r starts all contestants from the same network weights and the same stream of batches and augmentations,
    so that differences between contestants are paired. `groups` holds int64 (n,) in [0, num_groups) for each target.
    Scores of baselines are taken from `kept` where it has them for all targets, and put there otherwise. Says
    beforehand what it will take; raises UsageError where the device has no room for it.
    """
    device = context.device
    check_precision(protocol.precision, device, setting="precision")
    check_trainable(contestants, networks, repeats, protocol)
    jobs, image_size = [], next(iter(targets.values())).image_size
    for contestant in contestants:
        for network in networks:
            found = {} if kept is None else kept.recall(contestant, network, range(repeats))
            missing = tuple(repeat for repeat in range(repeats) if repeat not in found)
            how = choose_repeats(network, protocol, device, repeats, image_size=image_size)
            jobs.append(_Job(contestant, network, how, found, len(found), missing))

    def scores_of(job: _Job, repeat: int, network: Backbone) -> dict[str, Score]:
        scores = {}
        for target, dataset in targets.items():
            probabilities = predict(
                network, tests[target], protocol, normalised_by(network, job.contestant.normalisation)
            )
            if not bool(torch.isfinite(probabilities).all()):
                raise DgddError(
                    f"training {job.network} on {job.contestant.name} diverged (repeat {repeat + 1})",
                    hint=f"--set rate={protocol.rate / 10:g}",
                )
            scores[target] = score(
                probabilities,
                dataset.labels,
                tail=protocol.loss_tail,
                groups=(groups or {}).get(target, NO_GROUPS),
                num_groups=num_groups,
            )
        return scores

    done, total = 0, sum(job.contestant.epochs * job.contestant.pace * len(job.missing) for job in jobs)

    def tick(images: int) -> None:
        nonlocal done
        done += images
        context.progress("evaluate", done, total)

    with computing_in(protocol.precision, device):
        announce(context, [_work_of(job) for job in jobs], targets, protocol)
        tests = dict(zip(targets, resident(list(targets.values()), device), strict=True))
        tick(0)
        for job in jobs:
            for repeat, trained in trainings(
                context,
                job.contestant,
                job.network,
                job.missing,
                job.how,
                protocol,
                num_classes=len(next(iter(targets.values())).class_names),
                tick=tick,
            ):
                job.found[repeat] = scores_of(job, repeat, trained)
                if kept is not None:
                    kept.keep(job.contestant, job.network, repeat, job.found[repeat])
    return [
        Result(
            job.contestant,
            job.network,
            target,
            tuple(job.found[repeat][target] for repeat in range(repeats)),
            steps_of(job.contestant.epochs, job.contestant.pace, protocol),
            foreign_weights(job.network, image_size=image_size) or DRAWN,
            job.cached,
        )
        for job in jobs
        for target in targets
    ]


def announce(context: Context, works: Sequence[Work], targets: Mapping[str, Images], protocol: Protocol) -> None:
    """Say what trainings and tests will take. Raises UsageError where the device has no room for them."""
    works = [work for work in works if work.trainings]
    if not works:
        return
    device = context.device
    first, tests = next(iter(targets.values())), sum(map(len, targets.values()))
    classes, size = len(first.class_names), first.image_size
    require_room_to_evaluate(works, protocol, classes=classes, image_size=size, tests=tests, device=device)
    estimate = estimate_evaluation(works, protocol, classes=classes, image_size=size, tests=tests, device=device)
    log.info("%s", sentence(estimate, device))


def _work_of(job: _Job) -> Work:
    own, trainings = job.contestant, len(job.missing)
    at_once = trainings if job.how.mode == "together" else 1
    return Work(job.network, trainings, own.epochs * own.pace, own.images, at_once)


def check_trainable(
    contestants: Sequence[Contestant], networks: Sequence[str], repeats: int, protocol: Protocol
) -> None:
    """Raise UsageError, before anything is trained, where the protocol's trainer cannot act."""
    name, trainer = protocol.trainer, trainer_named(protocol.trainer)
    for contestant in contestants:
        needed = repeats if trainer.needs_domains else 0  # a baseline's images are drawn where they matter
        for own in map(contestant.draw, range(1 if contestant.kind == "bundle" else needed)):
            check_labels(name, trainer, contestant.name, own.labels)
            check_domains(name, trainer, contestant.name, own.domains)
    image_size = contestants[0].draw(0).images.image_size
    for network in networks:
        check_network(name, trainer, network, blueprint(network, image_size=image_size), image_size)
