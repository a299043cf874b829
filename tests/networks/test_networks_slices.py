"""Slices of a batch: the same features and gradients, without the memory of all images at once."""

import pytest
import torch

from dgdd_cli.networks import build
from dgdd_cli.networks.convnet import ConvNet
from dgdd_cli.networks.footprint import peak_bytes

GIB = 2**30


def network_of(size=16, width=8):
    return build("convnet", num_classes=3, image_size=size, generator=torch.Generator().manual_seed(0), width=width)


def gradients(network, images, twice=False):
    pixels = images.clone().requires_grad_()
    loss = network(pixels).square().mean()
    found = torch.autograd.grad(loss, [pixels, *network.parameters()], create_graph=twice)
    if twice:
        found = torch.autograd.grad(sum(one.square().sum() for one in found[1:]), pixels)
    return [loss.detach(), *(one.detach() for one in found)]


@pytest.fixture(params=["kept", "made anew"])
def in_slices(request, monkeypatch):
    def begin():
        monkeypatch.setattr("dgdd_cli.networks.slices.SLICE", 3 * 4 * 8 * 16 * 16)  # three images of the first block
        monkeypatch.setattr("dgdd_cli.networks.slices.KEPT", 2**40 if request.param == "kept" else 1)

    return begin


@pytest.mark.parametrize("twice", [False, True])
def test_slices_change_neither_features_nor_gradients(in_slices, twice):
    network, images = network_of(), torch.rand(10, 3, 16, 16)
    whole = gradients(network, images, twice)
    in_slices()
    for ours, theirs in zip(gradients(network, images, twice), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("parameters", [True, False])
def test_the_memory_of_a_backward_pass_is_that_of_a_slice(parameters):
    """Of 32 images at 224 px with 128 channels one map takes 0.77 GiB, and two are kept and two are worked on."""
    with torch.device("meta"):
        network, images = ConvNet(num_classes=7, image_size=224, width=128), torch.empty(32, 3, 224, 224)
    network.requires_grad_(parameters)
    images.requires_grad_(not parameters)
    assert peak_bytes(lambda: network(images).sum().backward()) < 1.7 * GIB


def test_at_32_px_nothing_is_sliced(monkeypatch):
    monkeypatch.setattr("torch.cat", lambda parts: pytest.fail("the batch was cut"))
    with torch.device("meta"):
        network, images = ConvNet(num_classes=7, image_size=32, width=128), torch.empty(256, 3, 32, 32)
    network(images).sum().backward()
