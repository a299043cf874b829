"""Vector-Jacobian products of a view: side by side they are those one after the other, at one pass backwards."""

from __future__ import annotations

import pytest
import torch

from dgdd_cli.augment import OPERATIONS, Draw
from dgdd_cli.methods import products
from dgdd_cli.methods.products import batched_products, single_products
from dgdd_cli.networks import build
from dgdd_cli.probes.view import View

LAYERS = 2  # of the ConvNet for 16 px


def view_of(operation: str, rows: int, dtype: torch.dtype = torch.float32) -> View:
    draw = torch.Generator().manual_seed(1)
    network = build("convnet", num_classes=3, image_size=16, generator=draw, width=4).requires_grad_(False).to(dtype)
    half = torch.full((3,), 0.5)
    return View(network, Draw(operation, torch.rand(rows, 3, generator=draw)), half, half, dtype)


def images() -> torch.Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def cotangents(features: torch.Tensor, count: int = 4) -> torch.Tensor:
    return torch.randn(count, *features.shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_layer_and_every_augmentation_passes_backwards_once(operation, rows, dispatched):
    found, seen = [], []
    for way in (single_products, batched_products):
        features, pull = way(view_of(operation, rows), images().requires_grad_())
        assert not features.requires_grad
        with dispatched() as counted:
            found.append(pull(cotangents(features)))
        assert not found[-1].requires_grad
        seen.append(counted.calls)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)
    for each in ("convolution_backward", "native_group_norm_backward"):
        assert [calls[each] for calls in seen] == [4 * LAYERS, LAYERS]
    resampled = int(operation in ("scale", "rotate"))
    assert [calls["grid_sampler_2d_backward"] for calls in seen] == [4 * resampled, resampled]


def test_many_images_pass_backwards_in_several_goes(dispatched, monkeypatch):
    """Memory is that of so many pixels, whatever the number of domains."""
    monkeypatch.setattr(products, "BATCHED_PIXELS", 2 * images()[:, 0].numel())
    view = view_of("rotate", 1)
    features, pull = batched_products(view, images())
    with dispatched() as seen:
        found = pull(cotangents(features, 5))
    assert seen.calls["convolution_backward"] == 3 * LAYERS
    torch.testing.assert_close(found, single_products(view, images())[1](cotangents(features, 5)))


def test_a_view_in_bfloat16_is_batched_too(dispatched):
    view = view_of("color", 1, torch.bfloat16)
    features, pull = batched_products(view, images())
    with dispatched() as seen:
        found = pull(cotangents(features))
    assert seen.calls["convolution_backward"] == LAYERS
    expected = single_products(view, images())[1](cotangents(features))
    assert (found - expected).norm() < 0.02 * expected.norm()
