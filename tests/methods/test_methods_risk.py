"""Risks on the matching losses: against spelled-out losses, for groups within classes and across them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dgdd_cli.config import Matching, Probes, Recipe, Risk, Surgery, validate
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.engine.distill import distill
from dgdd_cli.groups.find import Groups, find_groups
from dgdd_cli.matching import OBJECTIVES, Objective
from dgdd_cli.matching.distribution import subset_means
from dgdd_cli.methods.cells import describe_cells
from dgdd_cli.methods.complete import complete
from dgdd_cli.methods.domain_wise import domains_at_risk, sample_of_group_cells
from dgdd_cli.methods.group_cells import group_cells_of, split_by_domain
from dgdd_cli.methods.pooling import at_risk, average, uniform_standing
from dgdd_cli.methods.step import pooled_gradient, surgical_gradient
from dgdd_cli.probes.source import probe_source
from dgdd_cli.runtime.context import Context

CPU = torch.device("cpu")
NORM = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
LABELS, DOMAINS = torch.arange(9) // 3, torch.arange(9) % 3


def probe_of(dataset, watched, samples: int = 0):
    settings = Probes(width=8, augment="color", source="bank:1")
    at = probe_source(Context(), dataset, settings, NORM, steps=1, group_cells=watched, samples=samples)
    return at(0)


def groups_of(dataset, spec: str) -> Groups:
    """Those that the name says; `kmeans:3`: three clusters a class of very unequal size, the last without domain 2."""
    if spec != "kmeans:3":
        return find_groups(Context(), dataset, spec)
    draw = torch.Generator().manual_seed(5)
    within = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), len(dataset), replacement=True, generator=draw)
    within[(within == 2) & (dataset.domains == 2)] = 0
    assignments = 3 * dataset.labels + within
    sizes = torch.bincount(assignments, minlength=9)
    assert sizes.min() > 0
    return Groups(assignments, tuple(map(str, range(9))), sizes, within_class=True, notes=(), digest="by hand")


def split_cells(dataset, spec: str):
    group_cells = group_cells_of(dataset, groups_of(dataset, spec))
    cells = describe_cells(LABELS, DOMAINS, dataset.counts(), "equal")
    return group_cells, probe_of(dataset, group_cells.partition), cells


def images() -> torch.Tensor:
    return torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()


def domain_losses(probe) -> torch.Tensor:
    """‖mean f(S_c) − μ_{c,d}‖² for each class and domain, (C, D)."""
    features = probe.view(images())
    own = torch.stack([rows.mean(0) for rows in features.view(3, 3, -1)])
    return (own[:, None] - probe.cells).square().sum(2)


def step_with(dataset, risk: Risk, standing=None, surgery: Surgery | None = None, matching: Matching = Matching()):
    group_cells, probe, cells = split_cells(dataset, risk.groups)
    if surgery:
        split = split_by_domain(dataset, group_cells)
        probe = probe_of(dataset, split.partition)
        gradient = surgical_gradient(
            matching, surgery, cells, domains_at_risk(matching, risk, group_cells, split, cells)
        )
    else:
        gradient = pooled_gradient(at_risk(matching, risk, group_cells, cells))
    return (
        gradient(images(), probe, uniform_standing(group_cells) if standing is None else standing),
        probe,
        group_cells,
    )


def test_the_mean_over_domains_is_balanced_matching_up_to_what_the_images_cannot_change(shapes):
    """Σ_d ‖m − μ_d‖²/D = ‖m − μ̄‖² + the spread of the μ_d: the same gradient."""
    found, probe, _ = step_with(shapes(), Risk(name="mean"))
    _, _, cells = split_cells(shapes(), "domain")
    plain = pooled_gradient(average(Matching(), cells))(images(), probe, torch.zeros(0))
    torch.testing.assert_close(found.update, plain.update, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.figures["loss"], domain_losses(probe).mean(1).sum().detach())


def test_cvar_over_domains_takes_the_worst_of_their_means_over_classes(shapes):
    found, probe, _ = step_with(shapes(), Risk(name="cvar", tail=0.5))
    worst = domain_losses(probe).mean(0).sort(descending=True).values
    expected = 3 * (worst[0] + 0.5 * worst[1]) / 1.5  # half of three domains are one and a half
    torch.testing.assert_close(found.figures["loss"], expected.detach())


def test_cvar_within_classes_takes_the_worst_part_of_every_class(shapes):
    found, probe, group_cells = step_with(shapes(), Risk(name="cvar", groups="class-domain", tail=0.01))
    torch.testing.assert_close(found.figures["loss"], domain_losses(probe).max(1).values.sum().detach())
    assert group_cells.block_count == 3


def test_the_gradient_of_a_risk_is_that_of_its_worst_domain(shapes):
    found, probe, _ = step_with(shapes(), Risk(name="cvar", tail=0.01))
    pixels = images()
    features = probe.view(pixels)
    own = torch.stack([rows.mean(0) for rows in features.view(3, 3, -1)])
    losses = (own[:, None] - probe.cells).square().sum(2)
    worst = int(losses.sum(0).argmax())
    torch.testing.assert_close(found.update, torch.autograd.grad(losses[:, worst].sum(), pixels)[0])


def test_mean_max_and_group_dro(shapes):
    found, probe, _ = step_with(shapes(), Risk(name="mean-max", tail=1.0))
    means = domain_losses(probe).mean(0)
    torch.testing.assert_close(found.figures["loss"], 1.5 * (means.mean() + means.max()).detach())
    risk = Risk(name="group-dro", rate=2.0)
    found, probe, _ = step_with(shapes(), risk)
    relative = means / domain_losses(probe).mean()
    weights = (risk.rate * relative).softmax(0)
    torch.testing.assert_close(found.standing, weights.detach())
    torch.testing.assert_close(found.figures["loss"], 3 * (weights * means).sum().detach())


def test_group_dro_accumulates(shapes):
    risk = Risk(name="group-dro", rate=2.0)
    first, _, _ = step_with(shapes(), risk)
    second, _, _ = step_with(shapes(), risk, first.standing)
    assert float(second.standing.max()) > float(first.standing.max()) > 1 / 3


def test_one_group_is_the_plain_mean(shapes):
    dataset = shapes().only(["blue"])
    found, probe, _ = step_with(dataset, Risk(name="cvar", tail=0.1))
    cells = describe_cells(LABELS, torch.zeros_like(DOMAINS), dataset.counts(), "equal")
    plain = pooled_gradient(average(Matching(), cells))(images(), probe, torch.zeros(0))
    torch.testing.assert_close(found.update, plain.update)


EVERY_RISK = [
    Risk(name="mean", groups="kmeans:3"),
    Risk(name="cvar", groups="domain", tail=0.3),
    Risk(name="cvar", groups="class-domain", tail=0.3),
    Risk(name="cvar", groups="kmeans:3", tail=0.5),
    Risk(name="mean-max", groups="kmeans:3"),
    Risk(name="group-dro", groups="kmeans:3", rate=2.0, adjustment=1.0),
]


@pytest.mark.parametrize("risk", EVERY_RISK, ids=lambda risk: f"{risk.name} {risk.groups}")
@pytest.mark.parametrize("empty", [False, True])
def test_surgery_without_its_gradients_leaves_that_of_the_risk(shapes, risk, empty):
    """No product of its own, and yet the same gradient, loss and standing."""
    dataset = shapes(per_cell=20)
    if empty:
        keep = ~((dataset.labels == 1) & (dataset.domains == 0))
        dataset = replace(
            dataset, images=dataset.images[keep], labels=dataset.labels[keep], domains=dataset.domains[keep]
        )
    alone, _, _ = step_with(dataset, risk)
    nothing, _, _ = step_with(dataset, risk, surgery=Surgery(shared=0, diversity=0))
    torch.testing.assert_close(nothing.update, alone.update, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(nothing.figures["loss"], alone.figures["loss"])
    torch.testing.assert_close(nothing.standing, alone.standing)


@pytest.mark.parametrize("risk", EVERY_RISK, ids=lambda risk: f"{risk.name} {risk.groups}")
def test_an_objective_that_is_not_linear_gets_the_gradient_of_the_risk_too(shapes, risk, monkeypatch):
    """A cosine: the weighted sum of its domain gradients is another gradient, where groups mix domains."""
    losses = Objective(
        lambda features, members, targets: 1 - F.cosine_similarity(subset_means(features, members), targets)
    )
    monkeypatch.setitem(OBJECTIVES, "cosine", losses)
    dataset, matching = shapes(per_cell=20), Matching(name="cosine")
    alone, _, _ = step_with(dataset, risk, matching=matching)
    nothing, _, _ = step_with(dataset, risk, surgery=Surgery(shared=0, diversity=0), matching=matching)
    torch.testing.assert_close(nothing.update, alone.update, rtol=1e-3, atol=1e-5 * float(alone.update.abs().max()))
    torch.testing.assert_close(nothing.figures["loss"], alone.figures["loss"])
    torch.testing.assert_close(nothing.standing, alone.standing)


def test_over_domains_a_risk_leaves_the_domain_gradients_as_they_are(shapes):
    """So surgery adds what it always adds."""
    dataset, risk = shapes(per_cell=20), Risk(name="cvar", groups="domain", tail=0.3)
    alone, _, _ = step_with(dataset, risk)
    both, probe, _ = step_with(dataset, risk, surgery=Surgery())
    _, _, cells = split_cells(dataset, "domain")
    plain = surgical_gradient(Matching(), Surgery(), cells)(images(), probe, torch.zeros(0))
    bare = surgical_gradient(Matching(), Surgery(shared=0, diversity=0), cells)(images(), probe, torch.zeros(0))
    torch.testing.assert_close(both.update - alone.update, plain.update - bare.update, rtol=1e-3, atol=1e-5)


def test_a_risk_over_clusters_weighs_the_images_of_every_domain(shapes):
    """Against spelled-out losses: the worst cluster of each class decides alone which images a domain is made of."""
    dataset = shapes(per_cell=20)
    risk = Risk(name="cvar", groups="kmeans:3", tail=0.01)
    group_cells = group_cells_of(dataset, groups_of(dataset, risk.groups))
    split, cells = split_by_domain(dataset, group_cells), describe_cells(LABELS, DOMAINS, dataset.counts(), "equal")
    probe = probe_of(dataset, split.partition)
    features = probe.view(images())
    found = domains_at_risk(Matching(), risk, group_cells, split, cells)(features, probe, uniform_standing(group_cells))
    unheard = 0
    for c in range(3):
        own = features.detach().view(3, 3, -1)[c].mean(0)

        def distance(rows, own=own):
            return (own - probe.view(dataset.images[rows] / 255).mean(0)).square().sum()

        clusters = [group_cells.partition.ids == p for p in (group_cells.classes == c).nonzero().flatten().tolist()]
        assert len(clusters) == 3
        worst = max(clusters, key=lambda rows: float(distance(rows)))
        sizes = torch.bincount(dataset.domains[worst], minlength=3)
        torch.testing.assert_close(found.weights[c], sizes / sizes.sum())
        for d in range(3):
            here = dataset.domains == d
            if sizes[d]:
                expected = distance(worst & here)
            else:  # given no weight, it keeps the losses of its own images
                unheard += 1
                sets = [rows & here for rows in clusters]
                shares = [float(rows.sum()) / 20 for rows in sets]
                expected = sum(share * distance(rows) for share, rows in zip(shares, sets, strict=True) if share)
            torch.testing.assert_close(found.each[c, d], expected, rtol=1e-4, atol=1e-6)
    assert unheard, "the case has a domain that the worst cluster does not hold"


def test_an_objective_on_samples_judges_a_part_by_samples_of_all_of_it(shapes):
    """Not by its pieces, which a part that mixes domains never matches one by one."""
    dataset, matching = shapes(per_cell=20), Matching(name="mmd")
    risk = Risk(name="cvar", groups="kmeans:3", tail=0.01)
    group_cells = group_cells_of(dataset, groups_of(dataset, risk.groups))
    split, cells = split_by_domain(dataset, group_cells), describe_cells(LABELS, DOMAINS, dataset.counts(), "equal")
    probe, pixels = probe_of(dataset, split.partition, samples=8), images()
    features = probe.view(pixels)
    chosen = sample_of_group_cells(split, 8)
    assert chosen.shape == (9, 8)
    for part, rows in enumerate(chosen):
        held = torch.bincount(rows // 8, minlength=len(split.group_cells))
        assert (split.group_cells[held.nonzero().flatten()] == part).all()
        assert ((held - 8 * split.of_group_cell).abs()[split.group_cells == part] < 1).all()
        assert len(rows.unique()) == 8
    step = domains_at_risk(matching, risk, group_cells, split, cells, samples=8)
    found = step(features, probe, uniform_standing(group_cells))
    losses = OBJECTIVES["mmd"].losses(
        features, cells.of_class[group_cells.classes], probe.group_cells.flatten(0, 1)[chosen]
    )
    worst = torch.stack([losses[group_cells.classes == c].max() for c in range(3)])
    torch.testing.assert_close(found.pooled, worst.sum().detach())
    torch.testing.assert_close(found.weights.sum(1), torch.ones(3))
    bare = surgical_gradient(matching, Surgery(shared=0, diversity=0), cells, step)
    update = bare(pixels, probe, uniform_standing(group_cells)).update
    expected = torch.autograd.grad(worst.sum(), pixels)[0]
    torch.testing.assert_close(update, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["dm", "mmd"])
def test_a_run_with_surgery_and_clusters_goes_where_the_risk_pulls(shapes, name):
    """Through the whole engine: the probes hold what the step reads, and the risk changes the result."""
    dataset = shapes(per_cell=20)
    tables = {"matching": {"name": name}, "probes": {"width": 4, "source": "bank:2"}, "surgery": {}}
    tables |= {"optimiser": {"steps": 3, "image_rate": 5.0}}
    made = []
    for risk in (None, {"name": "cvar", "groups": "kmeans:3", "tail": 0.3}):
        recipe = complete(validate(Recipe, tables | ({"risk": risk} if risk else {})), "shapes")
        groups = groups_of(dataset, "kmeans:3") if risk else None
        made.append(distill(Context(seed=0), dataset, recipe, ipc=3, groups=groups).images)
    assert not torch.equal(*made)


@pytest.mark.parametrize("spec", ["domain", "class-domain"])
def test_parts_are_the_pairs_that_have_images(shapes, spec):
    dataset = shapes()
    keep = ~((dataset.labels == 1) & (dataset.domains == 2))
    dataset = replace(dataset, images=dataset.images[keep], labels=dataset.labels[keep], domains=dataset.domains[keep])
    group_cells = group_cells_of(dataset, find_groups(Context(), dataset, spec))
    assert group_cells.partition.count == 8
    for part in range(8):
        rows = group_cells.partition.ids == part
        assert set(dataset.labels[rows].tolist()) == {int(group_cells.classes[part])}
        assert len(set(dataset.domains[rows].tolist())) == 1
    assert int(group_cells.group_images.sum()) == len(dataset)
    assert group_cells.block_count == (3 if spec == "class-domain" else 1)
