from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from dgdd_cli.config import Matching, Probes, Surgery
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.matching import OBJECTIVES, Objective
from dgdd_cli.matching.distribution import subset_means
from dgdd_cli.methods.cells import describe_cells
from dgdd_cli.methods.decoding import Seen
from dgdd_cli.methods.pooling import average
from dgdd_cli.methods.products import batched_products, in_parts, single_products
from dgdd_cli.methods.step import pooled_gradient, surgical_gradient
from dgdd_cli.networks.convnet import ConvNet
from dgdd_cli.networks.footprint import peak_bytes
from dgdd_cli.probes.source import probe_source
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import given

NOBODY = torch.zeros(0)  # the standing of groups where there is no group-DRO
LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
DOMAINS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])


def probe_of(dataset):
    settings = Probes(width=8, augment="color", source="bank:1")
    norm = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
    return probe_source(Context(), dataset, settings, norm, steps=1)(0)


def plain(matching: Matching, cells) -> Callable[..., Seen]:
    """The step of distribution matching without surgery or risk."""
    return pooled_gradient(average(matching, cells))


def images() -> torch.Tensor:
    return torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()


def cosine_losses(features, members, targets):
    """1 − cos(mean of the subset, target): not linear in the target."""
    return 1 - F.cosine_similarity(subset_means(features, members), targets)


@pytest.fixture
def cosine(monkeypatch) -> Matching:
    """An objective as the README has one added: a function, and its line among the others."""
    monkeypatch.setitem(OBJECTIVES, "cosine", Objective(cosine_losses))
    return Matching(name="cosine")


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


@pytest.mark.parametrize("counts", [[[1, 1, 1]] * 3, [[8, 1, 1], [2, 2, 4], [5, 0, 1]]])
def test_the_pooled_gradient_of_an_objective_that_is_not_linear_is_its_own(shapes, cosine, counts):
    """Spelled out: every class against the weighted mean of its domains, whose cosines do not add up to that."""
    probe, cells = probe_of(shapes()), describe_cells(LABELS, DOMAINS, torch.tensor(counts), "share")
    pixels = images()
    own = probe.view(pixels).view(3, 3, -1).mean(1)
    targets = torch.einsum("cd,cdf->cf", cells.weights, probe.cells)
    loss = (1 - F.cosine_similarity(own, targets)).sum()
    (expected,) = torch.autograd.grad(loss, pixels)
    found = surgical_gradient(cosine, Surgery(shared=0, diversity=0), cells)(images(), probe, NOBODY)
    torch.testing.assert_close(found.update, expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.figures["loss"], loss.detach())


def test_the_pooled_gradient_of_mmd_is_the_weighted_sum_it_is_defined_as(shapes):
    settings = Probes(width=8, augment="color", source="bank:1")
    norm = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
    at = probe_source(Context(), shapes(), settings, norm, steps=1, samples=5)
    cells = describe_cells(LABELS, DOMAINS, torch.tensor([[8, 1, 1], [2, 2, 4], [5, 0, 1]]), "share")
    matching = Matching(name="mmd", weights="share")
    alone = plain(matching, cells)(images(), at(0), NOBODY)
    found = surgical_gradient(matching, Surgery(shared=0, diversity=0), cells)(images(), at(0), NOBODY)
    torch.testing.assert_close(found.update, alone.update, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.figures["loss"], alone.figures["loss"])


@pytest.mark.parametrize(("name", "products"), [("dm", 4), ("cosine", 5)])
def test_only_an_objective_that_is_not_linear_needs_another_product(shapes, cosine, dispatched, name, products):
    """Three domains and the dedicated subsets; and batched they are one. The ConvNet for 8 px has one layer."""
    probe, cells = probe_of(shapes()), describe_cells(LABELS, DOMAINS, torch.ones(3, 3), "equal")
    updates = []
    for way, passes in ((single_products, products), (batched_products, 1)):
        step = surgical_gradient(Matching(name=name), Surgery(), cells, products=way)
        with dispatched() as seen:
            updates.append(step(images(), probe, NOBODY).update)
        assert seen.calls["convolution_backward"] == passes
    torch.testing.assert_close(*updates, rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
def test_on_cuda_a_step_passes_backwards_once(shapes, dispatched):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cuda, norm = torch.device("cuda"), Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
    settings = Probes(width=8, augment="color", source="bank:1")
    probe = probe_source(Context(chosen=given(cuda)), shapes(), settings, norm, steps=1)(0)
    cells = describe_cells(LABELS.cuda(), DOMAINS.cuda(), torch.ones(3, 3, device=cuda), "equal")
    with dispatched() as seen:
        surgical_gradient(Matching(), Surgery(), cells)(images().cuda(), probe, NOBODY.cuda())
    assert seen.calls["convolution_backward"] == 1


@pytest.mark.parametrize("products", [single_products, batched_products])
def test_products_part_by_part_are_those_of_all_images(shapes, monkeypatch, products):
    view, pixels = probe_of(shapes()).view, images()
    features, pull = products(view, pixels)
    cotangents = torch.randn(4, *features.shape, generator=torch.Generator().manual_seed(1))
    gradients = pull(cotangents)
    monkeypatch.setattr("dgdd_cli.methods.products.KEPT", 1)
    seen = []
    monkeypatch.setattr(
        "dgdd_cli.networks.convnet.ConvNet.features",
        lambda self, maps, original=ConvNet.features: seen.append(len(maps)) or original(self, maps),
    )
    ours, pull = in_parts(products)(view, pixels)
    torch.testing.assert_close(ours, features)
    torch.testing.assert_close(pull(cotangents), gradients, rtol=1e-4, atol=1e-6)
    assert seen == [1] * 18  # each image for its features, and again for its products


@pytest.mark.parametrize("surgery", [None, Surgery()])
def test_a_step_takes_the_memory_of_a_part(shapes, monkeypatch, surgery):
    cells = describe_cells(LABELS, DOMAINS, torch.ones(3, 3), "equal")
    gradient = surgical_gradient(Matching(), surgery, cells) if surgery else plain(Matching(), cells)
    probe = probe_of(shapes())
    whole = peak_bytes(lambda: gradient(images(), probe, NOBODY))
    expected = gradient(images(), probe, NOBODY).update
    monkeypatch.setattr("dgdd_cli.methods.products.KEPT", 1)
    assert peak_bytes(lambda: gradient(images(), probe, NOBODY)) < whole
    torch.testing.assert_close(gradient(images(), probe, NOBODY).update, expected, rtol=1e-4, atol=1e-6)
