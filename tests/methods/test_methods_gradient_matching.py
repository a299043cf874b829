"""Gradient matching: a step against a loop in plain torch, the life of a network, risks, resuming."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dgdd_cli.augment import draw
from dgdd_cli.config import Recipe, validate
from dgdd_cli.engine.distill import distill, initial_state
from dgdd_cli.errors import Interrupted, UsageError
from dgdd_cli.groups.find import find_groups
from dgdd_cli.methods.complete import complete
from dgdd_cli.methods.gradient_matching import gradient_matching
from dgdd_cli.methods.group_cells import group_cells_of
from dgdd_cli.methods.real_batch import cluster_subsets, draw_representatives, subsets_of
from dgdd_cli.networks import build
from dgdd_cli.probes.view import image_features, make_view
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.seeds import stream

CPU = torch.device("cpu")
NOBODY = torch.zeros(0)


def recipe(**over) -> Recipe:
    tables = {
        "matching": {"name": "gradient", "weights": "share"},
        "probes": {"width": 4, "augment": "color_crop", "source": "fresh", "batch": 100},
        "trajectory": {"length": 2, "inner": 2, "batch": 6},
        "optimiser": {"steps": 5, "image_rate": 0.1},
    }
    for name, values in over.items():
        tables[name] = tables.get(name, {}) | values
    return complete(validate(Recipe, tables), "shapes")


def stepper(source, chosen: Recipe, labels: torch.Tensor):
    group_cells = group_cells_of(source, find_groups(Context(), source, chosen.risk.groups)) if chosen.risk else None
    return gradient_matching(
        Context(seed=0),
        source,
        labels,
        matching=chosen.matching,
        probes=chosen.probes,
        trajectory=chosen.trajectory,
        risk=chosen.risk,
        group_cells=group_cells,
        normalisation=source.normalisation,
    )


def plain_gradient(source, pixels, labels, weights_of=None) -> torch.Tensor:
    """The first step spelled out: all images of each class against the synthetic ones, one class after the other."""
    network = build("convnet", num_classes=3, image_size=8, generator=stream(0, "probe", 0, "network"), width=4)
    matched = [p for p in network.parameters() if p.ndim > 1]
    total = 0.0
    for c in range(3):
        see = draw("color_crop", stream(0, "probe", 0, "augmentation", 0, c))
        rows = (source.labels == c).nonzero().squeeze(1)
        losses = F.cross_entropy(
            network(see((source.images[rows].float() / 255 - 0.5) / 0.25)), source.labels[rows], reduction="none"
        )
        weights = weights_of(losses.detach(), rows) if weights_of else torch.full((len(rows),), 1 / len(rows))
        real = torch.autograd.grad(weights @ losses, matched)
        own = pixels[labels == c]
        loss = F.cross_entropy(network(see((own - 0.5) / 0.25)), labels[labels == c])
        for wanted, found in zip(real, torch.autograd.grad(loss, matched, create_graph=True), strict=True):
            for x, y in zip(wanted.flatten(1), found.flatten(1), strict=True):
                total = total + 1 - F.cosine_similarity(x, y, dim=0, eps=1e-6)
    return torch.autograd.grad(total, pixels)[0]


def synthetic(source, ipc: int = 2):
    state = initial_state(Context(seed=0), source, recipe(), ipc=ipc)
    return state.tensors["images"], state.labels


def test_a_step_is_the_plain_one(shapes):
    source = shapes()
    images, labels = synthetic(source)
    found = stepper(source, recipe(), labels)(images.requires_grad_(), 0, NOBODY)
    expected = plain_gradient(source, images, labels)
    torch.testing.assert_close(found.update, expected, rtol=2e-3, atol=1e-5)


def test_the_order_of_the_synthetic_images_does_not_matter(shapes):
    source = shapes()
    images, labels = synthetic(source)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    one = stepper(source, recipe(), labels)(images.requires_grad_(), 0, NOBODY).update
    other = stepper(source, recipe(), labels[order])(images.detach()[order].requires_grad_(), 0, NOBODY).update
    # within a class the siamese draw is the same for all images, so only the order of sums differs
    torch.testing.assert_close(other, one[order], rtol=1e-3, atol=1e-5)


def test_a_class_smaller_than_the_batch_gives_all_it_has(shapes):
    source = shapes(per_cell=4)
    keep = torch.ones(len(source), dtype=torch.bool)
    keep[(source.labels == 1).nonzero().squeeze(1)[2:]] = False
    source = replace(source, images=source.images[keep], labels=source.labels[keep], domains=source.domains[keep])
    images, labels = synthetic(source)
    found = stepper(source, recipe(probes={"batch": 12}), labels)(images.requires_grad_(), 0, NOBODY)
    torch.testing.assert_close(found.update, plain_gradient(source, images, labels), rtol=2e-3, atol=1e-5)


def test_a_risk_weighs_the_real_images_of_each_class(shapes):
    """CVaR of tail -> 0 over class x domain: of each class only the domain with the largest mean loss is matched."""
    source = shapes()
    images, labels = synthetic(source)

    def worst_domain(losses, rows):
        means = torch.stack([losses[source.domains[rows] == d].mean() for d in range(3)])
        here = source.domains[rows] == int(means.argmax())
        return here / here.sum()

    chosen = recipe(risk={"name": "cvar", "groups": "class-domain", "tail": 0.01})
    found = stepper(source, chosen, labels)(images.requires_grad_(), 0, NOBODY)
    expected = plain_gradient(source, images, labels, worst_domain)
    torch.testing.assert_close(found.update, expected, rtol=2e-3, atol=1e-5)
    assert not torch.allclose(expected, plain_gradient(source, images, labels), rtol=2e-2)


@pytest.mark.parametrize("risk", [None, {"name": "cvar", "groups": "class-domain", "tail": 0.01}])
def test_a_representative_counts_for_its_cluster(shapes, risk):
    """Of each class only the drawn images are matched, each as much as its cluster is large; a risk chooses domains."""
    source = shapes(per_cell=20)
    images, labels = synthetic(source)
    chosen = recipe(probes={"select": "kmeans", "batch": 7}, **({"risk": risk} if risk else {}))
    look = make_view(source, chosen.probes.model_copy(update={"augment": "none"}), source.normalisation, 0, 0, CPU)
    subsets = subsets_of(source.labels, source.domains if risk else torch.zeros_like(source.domains), 3)
    clusters = cluster_subsets(
        subsets, 7, stream(0, "representatives"), lambda rows: image_features(look, source, rows)
    )
    drawn = draw_representatives(clusters, stream(0, "probe", 0, "batch", 0))
    assert len(torch.cat([of_class.weights for of_class in drawn]).unique()) > 3

    def by_cluster(losses, rows):
        label = int(source.labels[rows[0]])
        weights = torch.zeros(len(source)).index_put((drawn[label].rows,), drawn[label].weights)[rows]
        if risk:
            here = [weights * (source.domains[rows] == d) for d in range(3)]
            weights = max(here, key=lambda own: float(own @ losses / own.sum()))
        return weights / weights.sum()

    found = stepper(source, chosen, labels)(images.requires_grad_(), 0, NOBODY)
    expected = plain_gradient(source, images, labels, by_cluster)
    torch.testing.assert_close(found.update, expected, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("ipc", [1, 4])
@pytest.mark.parametrize(
    "over",
    [
        {},
        {"probes": {"select": "kmeans", "batch": 3}},
        {"trajectory": {"data": "real"}, "matching": {"weights": "equal"}},
        {"trajectory": {"data": "real"}, "risk": {"name": "mean-max", "groups": "domain"}},
        {"trajectory": {"data": "real"}, "risk": {"name": "group-dro", "groups": "class-domain"}},
    ],
)
def test_runs_repeat_and_resume_to_the_same_bytes(shapes, ipc, over):
    source, chosen = shapes(), recipe(**over)
    groups = find_groups(Context(), source, chosen.risk.groups) if chosen.risk else None
    whole = distill(Context(seed=0), source, chosen, ipc=ipc, groups=groups)
    assert not torch.equal(whole.images, distill(Context(seed=1), source, chosen, ipc=ipc, groups=groups).images)
    kept = []

    def interrupt(stage, done, total, figures=None):
        if stage == "distil" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="step 3 of 5"):
        distill(Context(seed=0, progress=interrupt), source, chosen, ipc=ipc, groups=groups, keep=kept.append)
    assert [state.step for state in kept] == [2]  # where a network began: what it had become is not kept
    resumed = distill(Context(seed=0), source, chosen, ipc=ipc, groups=groups, state=kept[-1])
    assert torch.equal(resumed.images, whole.images)


def test_distilling_lowers_the_distance(shapes):
    """Measured through the same ten networks before and after."""
    source = shapes()
    chosen = recipe(optimiser={"steps": 40, "image_rate": 0.05}, trajectory={"length": 1})
    before, labels = synthetic(source, ipc=3)
    after = distill(Context(seed=0), source, chosen, ipc=3).images.float() / 255
    step = stepper(source, chosen, labels)
    distances = [
        sum(float(step(x.clone().requires_grad_(), number, NOBODY).figures["loss"]) for number in range(10))
        for x in (before, after)
    ]
    assert distances[1] < 0.95 * distances[0]


def test_a_network_is_trained_between_its_matchings(shapes):
    source = shapes()
    images, labels = synthetic(source)
    for data in ("synthetic", "real"):
        still, trained = (
            stepper(source, recipe(trajectory={"inner": inner, "data": data}, probes={"augment": "none"}), labels)
            for inner in (0, 3)
        )
        for step in (still, trained):
            step(images.detach().requires_grad_(), 0, NOBODY)
        losses = [float(s(images.detach().requires_grad_(), 1, NOBODY).figures["loss"]) for s in (still, trained)]
        assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"probes": {"source": "bank:3"}}, "no bank"),
        ({"surgery": {}}, "surgery acts on distribution matching"),
        ({"probes": {"network": "resnet18"}}, "batch normalisation"),
        ({"probes": {"precision": "bfloat16"}}, "computes in float32 or tf32"),
        ({"risk": {"name": "mean", "tail": 0.5}}, "has no tail"),
        ({"risk": {"name": "cvar", "rate": 0.5}}, "belongs to group-dro"),
        ({"matching": {"name": "dm"}}, "trajectory is the life"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(over, words):
    with pytest.raises(UsageError, match=words):
        recipe(**over)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"risk": {"name": "cvar"}}, "selects real images"),
        ({"matching": {}, "probes": {"select": "kmeans"}, "optimiser": {}}, "only gradient matching"),
        (
            {"matching": {}, "probes": {}, "optimiser": {}, "risk": {"name": "cvar-within", "groups": "kmeans:3"}},
            "finds no tail",
        ),
        ({"matching": {"name": "gradient"}, "probes": {"source": "fresh"}, "optimiser": {}}, "table trajectory"),
    ],
)
def test_a_risk_or_selection_that_cannot_act_is_refused(tables, words):
    with pytest.raises(UsageError, match=words):
        complete(validate(Recipe, tables), "shapes")


def test_progress_names_no_bank(shapes):
    stages = set()
    distill(Context(seed=0, progress=lambda stage, *rest: stages.add(stage)), shapes(), recipe(), ipc=1)
    assert stages == {"distil"}
