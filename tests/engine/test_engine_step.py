from collections.abc import Callable

import pytest
import torch

from dgdd_cli.config import Matching, Probes, Surgery
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.engine.cells import describe_cells
from dgdd_cli.engine.pooling import average
from dgdd_cli.engine.probes import probe_source
from dgdd_cli.engine.step import (
    Stepped,
    batched_products,
    pooled_gradient,
    single_products,
    surgical_gradient,
)
from dgdd_cli.progress import silent

NOBODY = torch.zeros(0)  # the standing of groups where there is no group-DRO
LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
DOMAINS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])


def probe_of(dataset):
    settings = Probes(width=8, augment="color", source="bank:1")
    norm = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
    return probe_source(dataset, settings, norm, seed=0, steps=1, device=torch.device("cpu"), progress=silent)(0)


def plain(matching: Matching, cells) -> Callable[..., Stepped]:
    """The step of distribution matching without surgery or risk."""
    return pooled_gradient(average(matching, cells))


def images() -> torch.Tensor:
    return torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_weights_follow_the_shares_or_are_equal():
    counts = torch.tensor([[30, 10, 0], [1, 1, 2]])
    share = describe_cells(LABELS[:6], DOMAINS[:6], counts, "share").weights
    equal = describe_cells(LABELS[:6], DOMAINS[:6], counts, "equal").weights
    torch.testing.assert_close(share, torch.tensor([[0.75, 0.25, 0], [0.25, 0.25, 0.5]]))
    torch.testing.assert_close(equal, torch.tensor([[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]]))


@pytest.mark.parametrize("weights", ["share", "equal"])
def test_the_pooled_gradient_is_the_weighted_sum_of_the_domain_gradients(shapes, weights):
    dataset = shapes(per_cell=4)
    counts = torch.tensor([[8, 1, 1], [2, 2, 4], [1, 1, 1]])
    cells = describe_cells(LABELS, DOMAINS, counts, weights)
    probe = probe_of(dataset)
    matching = Matching(weights=weights)
    pooled = plain(matching, cells)(images(), probe, NOBODY).update
    surgical = surgical_gradient(matching, Surgery(shared=0, diversity=0), cells)(images(), probe, NOBODY).update
    torch.testing.assert_close(surgical, pooled, rtol=1e-4, atol=1e-6)


def test_the_pooled_gradient_lowers_its_loss(shapes):
    probe, cells = probe_of(shapes()), describe_cells(LABELS, DOMAINS, torch.ones(3, 3), "equal")
    gradient = plain(Matching(), cells)
    before = images()
    found = gradient(before, probe, NOBODY)
    after = (before - 0.01 * found.update / found.update.norm()).detach().requires_grad_()
    assert gradient(after, probe, NOBODY).figures["loss"] < found.figures["loss"]


def test_matched_subsets_leave_no_diversity_gradient(shapes):
    """Real images that are the whole of each cell match their own domains: only the pooled part is left."""
    dataset = shapes(per_cell=1)
    order = torch.argsort(dataset.labels * 3 + dataset.domains)
    probe = probe_of(dataset)
    cells = describe_cells(LABELS, DOMAINS, dataset.counts(), "equal")
    pixels = (dataset.images[order].float() / 255).requires_grad_()
    pooled = plain(Matching(), cells)(pixels, probe, NOBODY).update
    surgical = surgical_gradient(Matching(), Surgery(shared=0, diversity=5), cells)(pixels, probe, NOBODY).update
    torch.testing.assert_close(surgical, pooled, rtol=1e-3, atol=1e-5)


def test_surgery_reports_its_agreement(shapes):
    cells = describe_cells(LABELS, DOMAINS, torch.ones(3, 3), "equal")
    found = surgical_gradient(Matching(), Surgery(), cells)(images(), probe_of(shapes()), NOBODY)
    assert 0 < float(found.figures["agreement"]) < 1


def test_an_empty_cell_pulls_at_nothing(shapes):
    probe = probe_of(shapes())
    counts = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 1]])
    domains = torch.tensor([0, 1, 1, 0, 1, 2, 0, 1, 2])
    cells = describe_cells(LABELS, domains, counts, "equal")
    gradient = surgical_gradient(Matching(), Surgery(), cells)
    one = gradient(images(), probe, NOBODY).update
    probe.cells[0, 2] = 1e6  # whatever stands there must not be read
    other = gradient(images(), probe, NOBODY).update
    torch.testing.assert_close(one, other)


def test_batched_products_are_the_single_ones(shapes):
    """On the CPU for want of a GPU: the batching itself is the same."""
    probe, pixels = probe_of(shapes()), images()

    def losses() -> list[torch.Tensor]:
        features = probe.view(pixels)
        return [(features.view(3, 3, -1)[c].mean(0) - probe.cells[c, 0]).square().sum() for c in range(3)]

    torch.testing.assert_close(batched_products(losses(), pixels), single_products(losses(), pixels))
