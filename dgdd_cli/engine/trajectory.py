"""Gradient matching along the life of a network (Zhao, Mopuri & Bilen 2021, algorithm 1; risk after arXiv 2402.04676).

A network is drawn, matched, trained a little, matched again, and after `length` matchings the next one is drawn. What
it has become is not kept in checkpoints: a run resumes where a new network begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dgdd_cli.augment import draw
from dgdd_cli.config import Matching, Probes, Risk, Trajectory
from dgdd_cli.data.dataset import DomainDataset, Normalisation
from dgdd_cli.engine.ranks import ALONE, Ranks
from dgdd_cli.engine.real_batch import Clusters, cluster_strata, draw_batch, draw_representatives, strata_of
from dgdd_cli.engine.risk_parts import RiskParts
from dgdd_cli.engine.sample_risk import SampleRisk, sample_risk
from dgdd_cli.engine.seeds import stream
from dgdd_cli.engine.step import Stepped
from dgdd_cli.engine.views import image_features, make_view
from dgdd_cli.matching.gradient import gradient_distance, matched_gradient
from dgdd_cli.networks import Network, build
from dgdd_cli.progress import Progress, silent
from dgdd_cli.synthesis.pixels import normalise, to_unit


@dataclass(slots=True, eq=False)
class _Life:
    """The network of the moment and what goes with it."""

    index: int
    network: Network
    optimiser: torch.optim.Optimizer
    matching_risk: SampleRisk
    training_risk: SampleRisk


def gradient_matching(
    source: DomainDataset,
    labels: Tensor,
    *,
    matching: Matching,
    probes: Probes,
    trajectory: Trajectory,
    risk: Risk | None,
    parts: RiskParts | None,
    normalisation: Normalisation,
    seed: int,
    device: torch.device,
    kernels: str = "auto",
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> Callable[[Tensor, int, Tensor], Stepped]:
    """The step (images (N, 3, H, W), number, standing) -> gradient of the summed distances of all classes.

    labels int64 (N,) of the synthetic images, equally many of each class. Steps of one network must come in order.
    Real images are drawn from each class at random, evenly from its domains (`weights = "equal"`), or evenly from its
    groups where there is a risk, which then weighs their losses in the matched gradient and, where the networks train
    on real images, in that. With `select = "kmeans"` those of the matched gradient are one of each K-means cluster, by
    the features of the first network. The weights of group-DRO accumulate within the life of a network.
    """
    mean, std = (torch.tensor(v, device=device) for v in (normalisation.mean, normalisation.std))
    real, real_labels, classes = source.images.to(device), source.labels.to(device), len(source.class_names)
    synthetic_rows = labels.argsort(stable=True).view(classes, -1)  # (C, IPC)
    strata = strata_of(source.labels, _strata(source, matching, parts), classes)
    life: _Life | None = None
    clusters: Clusters | None = None
    if probes.select == "kmeans":
        look = make_view(source, probes.model_copy(update={"augment": "none"}), normalisation, seed, 0, device)
        clusters = cluster_strata(
            strata,
            probes.batch,
            stream(seed, "representatives"),
            lambda rows: image_features(look, real, rows.to(device)).cpu(),
            progress,
        )

    def pixels(rows: Tensor) -> Tensor:
        return normalise(to_unit(real[rows.to(device)]), mean, std)

    def begin(index: int) -> _Life:
        network = build(
            probes.network,
            num_classes=classes,
            image_size=source.image_size,
            generator=stream(seed, "probe", index, "network"),
            width=probes.width,
        ).to(device)
        optimiser = torch.optim.SGD(network.parameters(), lr=trajectory.rate, momentum=trajectory.momentum)
        risks = [sample_risk(risk, parts, within_classes=within, kernels=kernels) for within in (True, False)]
        return _Life(index, network, optimiser, *risks)

    def train(life: _Life, images: Tensor, step: int) -> None:
        """The inner loop: `inner` steps on synthetic or real batches, as they are now."""
        for inner in range(trajectory.inner):
            generator = stream(seed, "trajectory", life.index, step, inner)
            if trajectory.data == "synthetic":
                rows = torch.randperm(len(images), generator=generator)[: trajectory.batch].to(device)
                batch, targets = normalise(images[rows], mean, std), labels[rows]
            else:
                drawn = draw_batch(strata, max(1, trajectory.batch // classes), generator)
                rows = torch.cat([of_class.rows for of_class in drawn]).to(device)
                batch, targets = pixels(rows), real_labels[rows]
            batch = draw(probes.augment, generator, rows=len(batch))(batch)
            losses = F.cross_entropy(life.network(batch), targets, reduction="none")
            alike = torch.ones_like(losses)
            loss = losses.mean() if trajectory.data == "synthetic" else life.training_risk(losses, rows, alike)
            life.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            life.optimiser.step()

    def step(images: Tensor, number: int, standing: Tensor) -> Stepped:
        nonlocal life
        turn, position = divmod(number, trajectory.length)
        index = turn * ranks.size + ranks.rank
        if position == 0:
            life = begin(index)
        assert life is not None, "a run resumes at the first step of a network"
        assert life.index == index, "a run resumes at the first step of a network"
        if position:
            train(life, images.detach(), position)
        generator = stream(seed, "probe", index, "batch", position)
        drawn = draw_representatives(clusters, generator) if clusters else draw_batch(strata, probes.batch, generator)
        total, update = torch.zeros((), device=device), torch.zeros_like(images)
        for c, (own, batch) in enumerate(zip(synthetic_rows, drawn, strict=True)):  # memory is that of one class
            see = draw(probes.augment, stream(seed, "probe", index, "augmentation", position, c))
            rows = batch.rows.to(device)
            losses = _class_losses(life.network, see(pixels(rows)), c)
            wanted = matched_gradient(life.network, life.matching_risk(losses, rows, batch.weights.to(device)))
            synthetic = images.detach()[own].requires_grad_()  # (IPC, 3, H, W)
            loss = _class_losses(life.network, see(normalise(synthetic, mean, std)), c).mean()
            distance = gradient_distance(wanted, matched_gradient(life.network, loss, differentiable=True))
            (update[own],) = torch.autograd.grad(distance, synthetic)
            total += distance.detach()
        return Stepped(update, standing, {"loss": total})

    return step


def _class_losses(network: Network, images: Tensor, label: int) -> Tensor:
    """Cross-entropy of each image (B, 3, H, W) of one class, float (B,)."""
    logits = network(images)
    return F.cross_entropy(logits, torch.full((len(images),), label, device=images.device), reduction="none")


def _strata(source: DomainDataset, matching: Matching, parts: RiskParts | None) -> Tensor:
    """What the real images of a class are drawn evenly from, int64 (N,)."""
    if parts is not None:
        return parts.partition.ids.cpu()
    return source.domains if matching.weights == "equal" else torch.zeros_like(source.domains)
