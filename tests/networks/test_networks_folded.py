"""R folded networks are R networks, in fewer operations than mapping each layer takes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dgdd_cli.networks import build
from dgdd_cli.networks.folded import FoldedConvNet

R, B = 3, 4


class Counted(TorchDispatchMode):
    """Counts what is computed or copied, forwards and backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def networks(size: int):
    return [
        build("convnet", num_classes=3, image_size=size, generator=torch.Generator().manual_seed(r), width=4)
        for r in range(R)
    ]


def images_of(size: int) -> torch.Tensor:
    return torch.randn(R, B, 3, size, size, generator=torch.Generator().manual_seed(9), requires_grad=True)


def mapped(shell, own: list, images: torch.Tensor, method: str = "forward"):
    """The stacked parameters and what the shell makes of the images with them."""
    parameters, _ = torch.func.stack_module_state(own)
    call = partial(torch.func.functional_call, Method(shell, method))
    return parameters, torch.func.vmap(call)({f"network.{name}": v for name, v in parameters.items()}, images)


class Method(torch.nn.Module):
    def __init__(self, network, method: str) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, images):
        return getattr(self.network, self.method)(images)


@pytest.mark.parametrize("method", ["forward", "features"])
@pytest.mark.parametrize("size", [8, 16, 36])
def test_folded_networks_are_the_networks(size, method):
    """Values, and gradients of every parameter and of the images."""
    own, images = networks(size), images_of(size)
    parameters, found = mapped(FoldedConvNet(own[0]), own, images, method)
    expected = torch.stack([getattr(network, method)(images[r]) for r, network in enumerate(own)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3))
    used = [name for name in parameters if method == "forward" or not name.startswith("classifier")]
    got = torch.autograd.grad((found * weights).sum(), [images, *(parameters[name] for name in used)])
    for place, name in enumerate(used):
        wanted = torch.autograd.grad(
            (expected * weights).sum(), [dict(network.named_parameters())[name] for network in own], retain_graph=True
        )
        torch.testing.assert_close(got[1 + place], torch.stack(wanted), rtol=1e-3, atol=1e-4)
    (of_images,) = torch.autograd.grad((expected * weights).sum(), [images])
    torch.testing.assert_close(got[0], of_images, rtol=1e-3, atol=1e-4)


def test_a_folded_network_has_the_parameters_of_its_network():
    (own, *_) = networks(16)
    folded = FoldedConvNet(own)
    assert [name for name, _ in folded.named_parameters()] == [name for name, _ in own.named_parameters()]
    assert all(a is b for a, b in zip(folded.parameters(), own.parameters(), strict=True))


def test_maps_are_not_copied_for_each_layer():
    """Mapped layer by layer, each block copies its maps four times and scales them in operations of their own."""
    counts = []
    for fold in (True, False):
        own = [network.to("meta") for network in networks(32)]
        with Counted() as counted:
            _, found = mapped(FoldedConvNet(own[0]) if fold else own[0], own, images_of(32).detach().to("meta"))
            found.sum().backward()
        counts.append({name: counted.names.count(f"aten::{name}") for name in ("clone", "mul", "add", "sum")})
    folded, layers = counts
    assert layers["clone"] >= folded["clone"] + 8
    assert sum(layers.values()) >= sum(folded.values()) + 24
