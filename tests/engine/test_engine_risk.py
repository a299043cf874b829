"""Risks on the matching losses: against spelled-out losses, for groups within classes and across them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dgdd_cli.config import Matching, Probes, Risk, Surgery
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.engine.groups import find_groups
from dgdd_cli.engine.probes import probe_source
from dgdd_cli.engine.risk_parts import risk_parts
from dgdd_cli.engine.step import (
    at_risk,
    average,
    describe_cells,
    pooled_gradient,
    surgical_gradient,
    uniform_standing,
)
from dgdd_cli.progress import silent

CPU = torch.device("cpu")
NORM = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
LABELS, DOMAINS = torch.arange(9) // 3, torch.arange(9) % 3


def pieces(dataset, spec: str):
    parts = risk_parts(dataset, find_groups(dataset, spec, seed=0, cache=None))
    settings = Probes(width=8, augment="color", source="bank:1")
    at = probe_source(dataset, settings, NORM, seed=0, steps=1, device=CPU, progress=silent, parts=parts.partition)
    return parts, at(0), describe_cells(LABELS, DOMAINS, dataset.counts(), "equal")


def images() -> torch.Tensor:
    return torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()


def domain_losses(probe) -> torch.Tensor:
    """‖mean f(S_c) − μ_{c,d}‖² for each class and domain, (C, D)."""
    features = probe.view(images())
    own = torch.stack([rows.mean(0) for rows in features.view(3, 3, -1)])
    return (own[:, None] - probe.cells).square().sum(2)


def step_with(dataset, risk: Risk, standing=None, surgery: Surgery | None = None):
    parts, probe, cells = pieces(dataset, risk.groups)
    pooled = at_risk(Matching(), risk, parts, cells)
    gradient = surgical_gradient(Matching(), surgery, cells, pooled) if surgery else pooled_gradient(pooled)
    return gradient(images(), probe, uniform_standing(parts) if standing is None else standing), probe, parts


def test_the_mean_over_domains_is_balanced_matching_up_to_what_the_images_cannot_change(shapes):
    """Σ_d ‖m − μ_d‖²/D = ‖m − μ̄‖² + the spread of the μ_d: the same gradient."""
    found, probe, _ = step_with(shapes(), Risk(name="mean"))
    _, _, cells = pieces(shapes(), "domain")
    plain = pooled_gradient(average(Matching(), cells))(images(), probe, torch.zeros(0))
    torch.testing.assert_close(found.update, plain.update, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.figures["loss"], domain_losses(probe).mean(1).sum().detach())


def test_cvar_over_domains_takes_the_worst_of_their_means_over_classes(shapes):
    found, probe, _ = step_with(shapes(), Risk(name="cvar", tail=0.5))
    worst = domain_losses(probe).mean(0).sort(descending=True).values
    expected = 3 * (worst[0] + 0.5 * worst[1]) / 1.5  # half of three domains are one and a half
    torch.testing.assert_close(found.figures["loss"], expected.detach())


def test_cvar_within_classes_takes_the_worst_part_of_every_class(shapes):
    found, probe, parts = step_with(shapes(), Risk(name="cvar", groups="class-domain", tail=0.01))
    torch.testing.assert_close(found.figures["loss"], domain_losses(probe).max(1).values.sum().detach())
    assert parts.block_count == 3


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


def test_surgery_composes_with_a_risk_over_any_groups(shapes):
    """Without its two gradients, surgery leaves that of the risk; with them it adds what it always adds."""
    for groups in ("domain", "class-domain", "kmeans:2"):
        risk = Risk(name="cvar", groups=groups, tail=0.3)
        dataset = shapes(per_cell=20)
        alone, _, _ = step_with(dataset, risk)
        nothing, _, _ = step_with(dataset, risk, surgery=Surgery(shared=0, diversity=0))
        torch.testing.assert_close(nothing.update, alone.update, rtol=1e-4, atol=1e-6)
        both, probe, _ = step_with(dataset, risk, surgery=Surgery())
        _, _, cells = pieces(dataset, groups)
        plain = surgical_gradient(Matching(), Surgery(), cells)(images(), probe, torch.zeros(0))
        bare = surgical_gradient(Matching(), Surgery(shared=0, diversity=0), cells)(images(), probe, torch.zeros(0))
        torch.testing.assert_close(both.update - alone.update, plain.update - bare.update, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("spec", ["domain", "class-domain"])
def test_parts_are_the_pairs_that_have_images(shapes, spec):
    dataset = shapes()
    keep = ~((dataset.labels == 1) & (dataset.domains == 2))
    dataset = replace(dataset, images=dataset.images[keep], labels=dataset.labels[keep], domains=dataset.domains[keep])
    parts = risk_parts(dataset, find_groups(dataset, spec, seed=0, cache=None))
    assert parts.partition.count == 8
    for part in range(8):
        rows = parts.partition.ids == part
        assert set(dataset.labels[rows].tolist()) == {int(parts.classes[part])}
        assert len(set(dataset.domains[rows].tolist())) == 1
    assert int(parts.group_images.sum()) == len(dataset)
    assert parts.block_count == (3 if spec == "class-domain" else 1)
