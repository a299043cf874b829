import math

import pytest
import torch

from dgdd_cli.errors import UnknownName
from dgdd_cli.networks import NETWORKS, build
from dgdd_cli.networks.convnet import depth_for
from dgdd_cli.networks.halve import halve


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("size", "classes", "parameters", "features"),
    [(32, 10, 320_010, 2048), (32, 7, 313_863, 2048), (64, 7, 461_703, 2048), (128, 5, 605_445, 2048)],
)
def test_convnet_has_the_published_size(size, classes, parameters, features):
    network = build("convnet", num_classes=classes, image_size=size, generator=seeded())
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network.features(torch.rand(2, 3, size, size)).shape == (2, features)
    assert network(torch.rand(2, 3, size, size)).shape == (2, classes)


def test_depth_follows_the_image_size():
    assert [depth_for(size) for size in (8, 16, 32, 64, 128, 224)] == [1, 2, 3, 4, 5, 5]


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_weights_come_from_the_generator_alone(name):
    before = torch.random.get_rng_state()
    first, again, other = (build(name, num_classes=4, image_size=16, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
        assert torch.isfinite(a).all()
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_convnet_initialisation_has_the_default_range():
    network = build("convnet", num_classes=10, image_size=32, generator=seeded(), width=64)
    bound = 1 / math.sqrt(64 * 9)
    weight = network.convolutions[1].weight.detach()
    assert 0.99 * bound < weight.abs().max() <= bound
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_convnet_normalises_each_image_alone():
    network = build("convnet", num_classes=3, image_size=16, generator=seeded(), width=8)
    images = torch.rand(4, 3, 16, 16, generator=seeded(5))
    torch.testing.assert_close(network.features(images)[:1], network.features(images[:1]))


def test_resnet_keeps_resolution_in_a_small_stem():
    network = build("resnet18", num_classes=3, image_size=32, generator=seeded())
    assert network.trunk.conv1.stride == (1, 1)
    assert build("resnet18", num_classes=3, image_size=96, generator=seeded()).trunk.conv1.stride == (2, 2)
    assert network.features(torch.rand(2, 3, 32, 32)).shape == (2, 512)


def test_an_unknown_network_names_the_near_one():
    with pytest.raises(UnknownName, match="convnt") as caught:
        build("convnt", num_classes=3, image_size=32, generator=seeded())
    assert "convnet" in caught.value.hint


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (2, 5)])
def test_halving_is_average_pooling(size):
    maps = torch.randn(3, 4, *size, generator=seeded(), requires_grad=True)
    ours, library = halve(maps), torch.nn.functional.avg_pool2d(maps, 2)
    torch.testing.assert_close(ours, library)
    weight = torch.randn(ours.shape, generator=seeded(1))
    for_ours, for_library = (torch.autograd.grad(pooled, maps, weight)[0] for pooled in (ours, library))
    torch.testing.assert_close(for_ours, for_library)


def test_halving_has_a_second_derivative():
    maps = torch.randn(2, 2, 5, 4, dtype=torch.float64, generator=seeded(), requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: halve(x.square()), maps)
