"""What every network keeps to that stands in NETWORKS."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dgdd_cli.augment import draw
from dgdd_cli.config import Recipe, validate
from dgdd_cli.errors import UsageError
from dgdd_cli.methods.complete import complete
from dgdd_cli.networks import NETWORKS, build
from dgdd_cli.networks.convnet import ConvNet
from dgdd_cli.probes.view import View


def network_of(name: str, size: int = 16, seed: int = 0):
    return build(name, num_classes=3, image_size=size, generator=torch.Generator().manual_seed(seed), width=4).eval()


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_maps_of_several_depths_come_from_one_pass(name, monkeypatch):
    network, images = network_of(name), torch.rand(2, 3, 16, 16)
    entered = []
    hooks = [m.register_forward_hook(lambda *_: entered.append(1)) for m in network.modules() if type(m) is nn.Conv2d]
    first, last = network.maps(images, [network.depths[0], network.depths[-1]])
    assert len(entered) == len(hooks)
    assert first.ndim == last.ndim == 4
    assert len(first) == len(last) == 2
    entered.clear()
    network.maps(images, [network.depths[0]])
    assert 0 < len(entered) < len(hooks)  # nothing beyond the deepest that is asked for
    again = network.maps(images, [network.depths[-1], network.depths[0]])
    assert torch.equal(again[0], last)
    assert torch.equal(again[1], first)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_features_are_what_the_classifier_reads(name):
    network, images = network_of(name), torch.rand(2, 3, 16, 16)
    assert torch.equal(network.classifier(network.features(images)), network(images))
    assert torch.equal(network.features(images), network.features(images, network.depths[-1]))
    assert network.features(images, network.depths[0]).ndim == 2


class Features(nn.Module):
    def __init__(self, network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network.features(images)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("of", ["logits", "features"])
def test_it_is_a_function_of_its_parameters(name, of):
    """Other parameters give what a network of those parameters gives, with derivatives, and leave it as it was."""
    one, other, images = network_of(name).double(), network_of(name, seed=1).double(), torch.rand(2, 3, 16, 16).double()
    form, own = (one, other) if of == "logits" else (Features(one), Features(other))
    parameters = {key: value.detach() for key, value in own.named_parameters()}
    before = one(images)
    swapped = torch.func.functional_call(form, (parameters, dict(own.named_buffers())), images)
    assert torch.equal(swapped, own(images))
    assert torch.equal(one(images), before)
    gradient = torch.func.grad(lambda p: torch.func.functional_call(form, p, images).square().sum())(parameters)
    own(images).square().sum().backward()
    for key, value in own.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(gradient[key], value.grad)


class Fixed(ConvNet):
    input_size = 24


def test_images_of_another_size_are_refused_by_name(monkeypatch):
    monkeypatch.setitem(NETWORKS, "fixed24", Fixed)
    assert network_of("fixed24", 24)(torch.rand(1, 3, 24, 24)).shape == (1, 3)
    recipe = validate(Recipe, {"matching": {}, "probes": {"network": "fixed24"}, "optimiser": {}})
    for asked in (lambda: network_of("fixed24", 16), lambda: complete(recipe, "shapes", image_size=16)):
        with pytest.raises(UsageError, match="'fixed24' takes images of 24 px, not of 16 px") as caught:
            asked()
        assert caught.value.hint == "--image-size 24"


def test_a_frozen_network_with_batch_normalisation_sees_each_image_by_itself():
    """In evaluation mode: features and gradients of an image do not depend on the others, and are the true ones."""
    network = network_of("resnet18").double().requires_grad_(False)
    nothing = draw("none", torch.Generator())
    view = View(network, nothing, torch.zeros(3), torch.ones(3), torch.float64)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, 16, 16, dtype=torch.float64, generator=generator).requires_grad_()
    together = view(images)
    torch.testing.assert_close(together[:1], view(images[:1]))
    (gradient,) = torch.autograd.grad(together.double()[0].sum(), images)
    assert gradient[0].abs().sum() > 0
    assert not gradient[1:].any()
    direction = torch.randn(3, 16, 16, dtype=torch.float64, generator=generator)
    eps = 1e-8
    ahead, behind = (network.features((images[0] + s * eps * direction)[None]).sum() for s in (1, -1))
    torch.testing.assert_close((gradient[0] * direction).sum(), (ahead - behind) / (2 * eps), rtol=1e-4, atol=1e-4)
