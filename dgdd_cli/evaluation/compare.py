"""Train on each contestant, test on each target: one training serves all targets, and all contestants share seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dgdd_cli.config import Protocol
from dgdd_cli.data.dataset import DomainDataset, Normalisation
from dgdd_cli.engine.seeds import stream
from dgdd_cli.errors import DgddError
from dgdd_cli.evaluation.metrics import NO_GROUPS, Score, score
from dgdd_cli.evaluation.train import Chance, predict, train
from dgdd_cli.evaluation.trainers import TRAINERS, check_depth, check_domains
from dgdd_cli.evaluation.training_set import TrainingSet
from dgdd_cli.networks import build
from dgdd_cli.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Contestant:
    """A training set in the comparison: a bundle, or a baseline that draws other images for every repeat."""

    name: str
    method: str
    kind: str  # "bundle" or "baseline"
    sources: tuple[str, ...]
    normalisation: Normalisation
    epochs: int
    images: int
    draw: Callable[[int], TrainingSet]
    bundle_id: str | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)  # of the source domains it was made from


@dataclass(frozen=True, slots=True)
class Result:
    """The repeats of one contestant with one network on one target."""

    contestant: Contestant
    network: str
    target: str
    scores: tuple[Score, ...]


def compare(
    contestants: Sequence[Contestant],
    targets: Mapping[str, DomainDataset],
    *,
    networks: Sequence[str],
    repeats: int,
    protocol: Protocol,
    seed: int,
    device: torch.device,
    groups: Mapping[str, Tensor] | None = None,
    num_groups: int = 0,
    progress: Progress = silent,
) -> list[Result]:
    """Every contestant x network x target, each over `repeats` trainings.

    Repeat r starts all contestants from the same network weights and the same stream of batches and augmentations,
    so that differences between contestants are paired. `groups` holds int64 (n,) in [0, num_groups) for each target.
    """
    check_trainable(contestants, networks, repeats, protocol)
    scores: dict[tuple[int, str, str], list[Score]] = {}
    work = [(i, network, repeat) for i in range(len(contestants)) for network in networks for repeat in range(repeats)]
    total = sum(contestants[i].epochs * contestants[i].images for i, _, _ in work)
    done = 0
    progress("evaluate", 0, total)
    for i, name, repeat in work:
        contestant = contestants[i]
        training = contestant.draw(repeat)
        network = build(
            name,
            num_classes=len(next(iter(targets.values())).class_names),
            image_size=training.images.shape[-1],
            generator=stream(seed, "evaluation", name, repeat, "network"),
            width=protocol.width,
        ).to(device)

        def tick(epoch: int, before: int = done, size: int = contestant.images) -> None:
            progress("evaluate", before + epoch * size, total)

        train(
            network,
            TrainingSet(*(part.to(device) for part in training)),
            protocol,
            contestant.normalisation,
            Chance(*(stream(seed, "evaluation", name, repeat, use) for use in ("training", "trainer"))),
            num_domains=len(contestant.sources),
            epochs=contestant.epochs,
            tick=tick,
        )
        done += contestant.epochs * contestant.images
        for target, dataset in targets.items():
            probabilities = predict(network, dataset.images, protocol, contestant.normalisation)
            if not bool(torch.isfinite(probabilities).all()):
                raise DgddError(
                    f"training {name} on {contestant.name} diverged (repeat {repeat + 1})",
                    hint=f"--set rate={protocol.rate / 10:g}",
                )
            scores.setdefault((i, name, target), []).append(
                score(
                    probabilities,
                    dataset.labels,
                    tail=protocol.loss_tail,
                    groups=(groups or {}).get(target, NO_GROUPS),
                    num_groups=num_groups,
                )
            )
    return [Result(contestants[i], network, target, tuple(found)) for (i, network, target), found in scores.items()]


def check_trainable(
    contestants: Sequence[Contestant], networks: Sequence[str], repeats: int, protocol: Protocol
) -> None:
    """Raise UsageError, before anything is trained, where the protocol's trainer cannot act."""
    for contestant in contestants if TRAINERS[protocol.trainer].needs_domains else []:
        for repeat in range(repeats if contestant.kind == "baseline" else 1):
            check_domains(protocol.trainer, contestant.name, contestant.draw(repeat).domains)
    for network in networks:
        check_depth(protocol.trainer, network, contestants[0].draw(0).images.shape[-1])
