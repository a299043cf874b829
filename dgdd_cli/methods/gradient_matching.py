"""Gradient matching along the life of a network (Zhao, Mopuri & Bilen 2021, algorithm 1; risk after arXiv 2402.04676).

A network is drawn, matched, trained a little, matched again, and after `length` matchings the next one is drawn. What
it has become is not kept in checkpoints: a run resumes where a new network begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dgdd_cli.augment import Draw, draw
from dgdd_cli.config import Matching, Probes, Recipe, Risk, Trajectory
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.held import resident
from dgdd_cli.data.images import Images
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.errors import UsageError
from dgdd_cli.matching.gradient import gradient_distance, matched_gradient
from dgdd_cli.methods.decoding import Seen, decoded, owners_in, parameterisation_of
from dgdd_cli.methods.group_cells import GroupCells
from dgdd_cli.methods.matching_draws import MatchingDraws
from dgdd_cli.methods.method import Method, tables
from dgdd_cli.methods.real_batch import Clusters, cluster_subsets, draw_batch, draw_representatives, subsets_of
from dgdd_cli.methods.sample_risk import SampleRisk, sample_risks
from dgdd_cli.methods.state import State, Steps
from dgdd_cli.networks import Backbone, blueprint, build, normalised_by
from dgdd_cli.probes.view import image_features, make_view
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.seeds import stream
from dgdd_cli.runtime.transfer import module_to
from dgdd_cli.synthesis.pixels import normalise, to_unit


@dataclass(slots=True, eq=False)
class _Life:
    """The network of the moment and what goes with it."""

    index: int
    network: Backbone
    optimiser: torch.optim.Optimizer
    matching_risk: SampleRisk
    training_risk: SampleRisk


def gradient_matching(
    context: Context,
    source: Images,
    labels: Tensor,
    *,
    matching: Matching,
    probes: Probes,
    trajectory: Trajectory,
    risk: Risk | None,
    group_cells: GroupCells | None,
    normalisation: Normalisation,
) -> Callable[[Tensor, int, Tensor], Seen]:
    """The step (images (N, 3, H, W), number, standing) -> gradient of the summed distances of all classes.

    labels int64 (N,) of the synthetic images, equally many of each class. Steps of one network must come in order.
    Real images are drawn from each class at random, evenly from its domains (`weights = "equal"`), or evenly from its
    groups where there is a risk, which then weighs their losses in the matched gradient and, where the networks train
    on real images, in that. With `select = "kmeans"` those of the matched gradient are one of each K-means cluster, by
    the features of the first network. The weights of group-DRO accumulate within the life of a network.
    """
    seed, device, ranks = context.seed, context.device, context.ranks
    network = blueprint(probes.network, image_size=source.image_size, width=probes.width)
    own = normalised_by(network, normalisation)
    mean, std = (torch.tensor(v, device=device) for v in (own.mean, own.std))
    (real,), real_labels, classes = resident([source], device), source.labels.to(device), len(source.class_names)
    synthetic_rows = labels.argsort(stable=True).view(classes, -1)  # (C, IPC)
    subsets = subsets_of(source.labels, _subset_of_each(source, matching, group_cells), classes)
    life: _Life | None = None
    clusters: Clusters | None = None
    risks = [
        sample_risks(risk, group_cells, within_classes=within, kernels=context.kernels) for within in (True, False)
    ]
    if probes.select == "kmeans":
        look = make_view(source, probes.model_copy(update={"augment": "none"}), normalisation, seed, 0, device)
        clusters = cluster_subsets(
            subsets,
            probes.batch,
            stream(seed, "representatives"),
            lambda rows: image_features(look, real, rows.to(device)).cpu(),
            context.progress,
        )

    def pixels(rows: Tensor) -> Tensor:
        return normalise(to_unit(real.at(rows)), mean, std)

    def begin(index: int) -> _Life:
        network = build(
            probes.network,
            num_classes=classes,
            image_size=source.image_size,
            generator=stream(seed, "probe", index, "network"),
            width=probes.width,
        )
        network = module_to(network, device, torch.float32)
        optimiser = torch.optim.SGD(network.parameters(), lr=trajectory.rate, momentum=trajectory.momentum)
        return _Life(index, network, optimiser, *(begin_risk() for begin_risk in risks))

    def chances(index: int, position: int) -> MatchingDraws:
        """Those of the matching number `position` of a network, and of the training before it."""
        training = []
        for inner in range(trajectory.inner if position else 0):
            generator = stream(seed, "trajectory", index, position, inner)
            if trajectory.data == "synthetic":
                rows = torch.randperm(len(labels), generator=generator)[: trajectory.batch]
            else:
                drawn = draw_batch(subsets, max(1, trajectory.batch // classes), generator)
                rows = torch.cat([of_class.rows for of_class in drawn])
            training.append((rows, draw(probes.augment, generator, rows=len(rows))))
        generator = stream(seed, "probe", index, "batch", position)
        batches = (
            draw_representatives(clusters, generator) if clusters else draw_batch(subsets, probes.batch, generator)
        )
        seen = [stream(seed, "probe", index, "augmentation", position, c) for c in range(classes)]
        return MatchingDraws(batches, [draw(probes.augment, own) for own in seen], training).to(device)

    def train(life: _Life, images: Tensor, batches: Sequence[tuple[Tensor, Draw]]) -> None:
        """The inner loop: a step on each synthetic or real batch, as the images are now."""
        for rows, see in batches:
            if trajectory.data == "synthetic":
                batch, targets = normalise(images[rows], mean, std), labels[rows]
            else:
                batch, targets = pixels(rows), real_labels[rows]
            losses = F.cross_entropy(life.network(see(batch)), targets, reduction="none")
            alike = torch.ones_like(losses)
            loss = losses.mean() if trajectory.data == "synthetic" else life.training_risk(losses, rows, alike)
            life.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            life.optimiser.step()

    def step(images: Tensor, number: int, standing: Tensor) -> Seen:
        nonlocal life
        turn, position = divmod(number, trajectory.length)
        index = turn * ranks.size + ranks.rank
        if position == 0:
            life = begin(index)
        assert life is not None, "a run resumes at the first step of a network"
        assert life.index == index, "a run resumes at the first step of a network"
        drawn = chances(index, position)
        train(life, images.detach(), drawn.training)
        total, update = torch.zeros((), device=device), torch.zeros_like(images)
        # memory is that of one class
        for c, (own, batch, see) in enumerate(zip(synthetic_rows, drawn.batches, drawn.views, strict=True)):
            losses = _class_losses(life.network, see(pixels(batch.rows)), c)
            wanted = matched_gradient(life.network, life.matching_risk(losses, batch.rows, batch.weights))
            synthetic = images.detach()[own].requires_grad_()  # (IPC, 3, H, W)
            loss = _class_losses(life.network, see(normalise(synthetic, mean, std)), c).mean()
            distance = gradient_distance(wanted, matched_gradient(life.network, loss, differentiable=True))
            (update[own],) = torch.autograd.grad(distance, synthetic)
            total += distance.detach()
        return Seen(update, standing, {"loss": total})

    return step


def _class_losses(network: Backbone, images: Tensor, label: int) -> Tensor:
    """Cross-entropy of each image (B, 3, H, W) of one class, float (B,)."""
    logits = network(images)
    return F.cross_entropy(logits, torch.full((len(images),), label, device=images.device), reduction="none")


def _subset_of_each(source: Images, matching: Matching, group_cells: GroupCells | None) -> Tensor:
    """What the real images of a class are drawn evenly from, int64 (N,)."""
    if group_cells is not None:
        return group_cells.partition.ids.cpu()
    return source.domains if matching.weights == "equal" else torch.zeros_like(source.domains)


def gradient_steps(
    context: Context, source: Images, recipe: Recipe, state: State, group_cells: GroupCells | None
) -> Steps:
    """Matching of parameter gradients through networks that are trained as they go."""
    matching, probes, _ = tables(recipe)
    trajectory = recipe.trajectory
    assert trajectory, "a complete recipe of gradient matching has a trajectory"
    coding = parameterisation_of(recipe, source.image_size)
    gradient = gradient_matching(
        context,
        source,
        state.labels[owners_in(coding, state)],
        matching=matching,
        probes=probes,
        trajectory=trajectory,
        risk=recipe.risk,
        group_cells=group_cells,
        normalisation=normalisation_of(source),
    )
    return Steps(decoded(coding, gradient), resumable=lambda step: step % trajectory.length == 0)


def check(recipe: Recipe, image_size: int) -> None:
    """Raise UsageError for a network that cannot be trained, and for what only feature matching acts on."""
    matching, probes, _ = tables(recipe)
    network = blueprint(probes.network, image_size=image_size)
    if network.batch_normalised:
        raise UsageError(
            f"gradient matching needs a network without batch normalisation, which {probes.network} has: "
            "it must see each image by itself while it is trained",
            hint="--set probes.network=convnet",
        )
    if not network.trainable:
        raise UsageError(
            f"gradient matching trains its networks, and {probes.network} may not be trained",
            hint="--method dm, or --set probes.network=convnet",
        )
    if recipe.trajectory is None:
        raise UsageError("gradient matching needs the table trajectory", hint="start from --method dsa --print-config")
    if probes.bank_size is not None:
        raise UsageError(
            "gradient matching trains its networks as it goes: there is no bank of them to fill",
            hint="--probes fresh",
        )
    if matching.readout != "features":
        raise UsageError("gradient matching compares gradients: it reads nothing out", hint="--method dm")
    if recipe.surgery:
        raise UsageError("surgery acts on distribution matching, not on gradient matching", hint="--method sgs")
    if probes.precision == "bfloat16":
        raise UsageError(
            "gradient matching trains its networks and differentiates twice: it computes in float32 or tf32",
            hint="--set probes.precision=float32",
        )


GRADIENT_MATCHING = Method(check, gradient_steps, trains=True)
