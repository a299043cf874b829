import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dgdd_cli.matching.gradient import class_gradients, gradient_distances
from dgdd_cli.networks import build


def network(width: int = 4):
    return build("convnet", num_classes=3, image_size=8, generator=torch.Generator().manual_seed(0), width=width)


def pictures(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_class_gradients_are_those_of_a_loop_over_classes():
    net, images = network(), pictures(3, 5)
    weights = torch.rand(3, 5, generator=torch.Generator().manual_seed(2))
    found = class_gradients(net, images, weights)
    for label in range(3):
        losses = F.cross_entropy(net(images[label]), torch.full((5,), label), reduction="none")
        named = {name: p for name, p in net.named_parameters() if p.ndim > 1}
        expected = torch.autograd.grad(weights[label] @ losses, list(named.values()))
        for name, gradient in zip(named, expected, strict=True):
            torch.testing.assert_close(found[name][label], gradient, rtol=1e-4, atol=1e-6)


def test_vectors_are_left_out():
    names = set(class_gradients(network(), pictures(3, 1), torch.ones(3, 1)))
    assert names == {"convolutions.0.weight", "classifier.weight"}


def test_an_image_of_weight_zero_counts_for_nothing():
    net, images, weights = network(), pictures(3, 4), torch.tensor([[0.5, 0.5, 0.0, 0.0]]).expand(3, 4)
    other = torch.cat([images[:, :2], pictures(3, 2, seed=9)], 1)
    one, two = (class_gradients(net, x, weights) for x in (images, other))
    for name in one:
        torch.testing.assert_close(one[name], two[name])


def test_the_distance_is_one_minus_the_cosine_of_every_output_node():
    random = np.random.default_rng(0)
    real = {"a": random.normal(size=(2, 5, 3, 2, 2)), "b": random.normal(size=(2, 4, 6))}
    fake = {"a": random.normal(size=(2, 5, 3, 2, 2)), "b": random.normal(size=(2, 4, 6))}
    expected = np.zeros(2)
    for c in range(2):
        for name in real:
            for x, y in zip(real[name][c], fake[name][c], strict=True):
                expected[c] += 1 - (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())
    found = gradient_distances(*({k: torch.from_numpy(v) for k, v in d.items()} for d in (real, fake)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_equal_gradients_have_no_distance_and_opposite_ones_the_largest():
    rows = {"a": torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(3))}
    torch.testing.assert_close(gradient_distances(rows, {"a": 5 * rows["a"]}), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(gradient_distances(rows, {"a": -rows["a"]}), torch.full((2,), 6.0))


def test_the_images_get_the_gradient_of_finite_differences():
    net = network(2).double()
    wanted = class_gradients(net, pictures(3, 2, seed=4).double(), torch.full((3, 2), 0.5, dtype=torch.float64))
    wanted = {name: value.detach() for name, value in wanted.items()}
    images = pictures(3, 1).double().requires_grad_()

    def distance(x: torch.Tensor) -> torch.Tensor:
        return gradient_distances(wanted, class_gradients(net, x, torch.ones(3, 1, dtype=torch.float64))).sum()

    (gradient,) = torch.autograd.grad(distance(images), images)
    towards = torch.randn(images.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        slope = (distance(images + step * towards) - distance(images - step * towards)) / (2 * step)
    assert float(slope) == pytest.approx(float((gradient * towards).sum()), rel=1e-5)
