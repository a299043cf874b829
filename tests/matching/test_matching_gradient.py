import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dgdd_cli.matching.gradient import gradient_distance, matched_gradient
from dgdd_cli.networks import build


def network(width: int = 4):
    return build("convnet", num_classes=3, image_size=8, generator=torch.Generator().manual_seed(0), width=width)


def pictures(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def mean_loss(net, images: torch.Tensor, label: int = 0) -> torch.Tensor:
    return F.cross_entropy(net(images), torch.full((len(images),), label))


def test_the_gradient_has_every_weight_that_has_rows_and_no_vector():
    net = network()
    found = matched_gradient(net, mean_loss(net, pictures(5)))
    mean_loss(net, pictures(5)).backward()
    expected = {
        name: p.grad for name, p in net.named_parameters() if name in ("convolutions.0.weight", "classifier.weight")
    }
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected.values(), strict=True):
        torch.testing.assert_close(one, other)
        assert not one.requires_grad


def test_the_distance_is_one_minus_the_cosine_of_every_output_node():
    random = np.random.default_rng(0)
    real, fake = ([random.normal(size=(5, 3, 2, 2)), random.normal(size=(4, 6))] for _ in range(2))
    expected = 0.0
    for one, other in zip(real, fake, strict=True):
        for x, y in zip(one, other, strict=True):
            expected += 1 - (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())
    found = gradient_distance(*([torch.from_numpy(layer) for layer in layers] for layers in (real, fake)))
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_equal_gradients_have_no_distance_and_opposite_ones_the_largest():
    rows = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    assert float(gradient_distance([rows], [5 * rows])) == pytest.approx(0, abs=1e-5)
    assert float(gradient_distance([rows], [-rows])) == pytest.approx(6)
    assert float(gradient_distance([rows], [torch.zeros(3, 4)])) == 3


def test_the_images_get_the_gradient_of_finite_differences():
    net = network(2).double()
    wanted = matched_gradient(net, mean_loss(net, pictures(2, seed=4).double()))
    images = pictures(1).double().requires_grad_()

    def distance(x: torch.Tensor) -> torch.Tensor:
        return gradient_distance(wanted, matched_gradient(net, mean_loss(net, x), differentiable=True))

    (gradient,) = torch.autograd.grad(distance(images), images)
    towards = torch.randn(images.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    step = 1e-6
    slope = (distance(images + step * towards) - distance(images - step * towards)).detach() / (2 * step)
    assert float(slope) == pytest.approx(float((gradient * towards).sum()), rel=1e-5)
