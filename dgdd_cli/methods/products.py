"""Vector-Jacobian products of a view: from gradients in its features to gradients in the pixels that it sees."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dgdd_cli.networks.footprint import footprint_in
from dgdd_cli.networks.slices import KEPT
from dgdd_cli.probes.view import View

BATCHED_PIXELS = 2**21  # that pass backwards at once, 2,048 images of 32 px: 512 MiB a map of 64 channels

Pull = Callable[[Tensor], Tensor]  # cotangents (M, N, F) -> gradients (M, N, 3, H, W)
Products = Callable[[View, Tensor], tuple[Tensor, Pull]]  # view, images -> features (N, F), their products


def single_products(view: View, images: Tensor) -> tuple[Tensor, Pull]:
    """The features of images (N, 3, H, W), and what takes M cotangents back, one backward pass after the other.

    The pull may be used once.
    """
    pixels = images.detach().requires_grad_()
    features = view(pixels)

    def pull(cotangents: Tensor) -> Tensor:
        *first, last = cotangents
        gradients = [torch.autograd.grad(features, pixels, each, retain_graph=True)[0] for each in first]
        return torch.stack([*gradients, torch.autograd.grad(features, pixels, last)[0]])  # the last frees the graph

    return features.detach(), pull


def batched_products(view: View, images: Tensor) -> tuple[Tensor, Pull]:
    """The same with the M cotangents side by side: every layer passes backwards once, over M·N images.

    Fills a GPU that a single product leaves idle, where M·N images are more than `BATCHED_PIXELS` in several goes. A
    CPU has its hands full with one, and pays for the copies.
    """
    found = torch.func.vjp(view, images.detach())
    features, product = found[0], found[1]
    at_once = max(1, BATCHED_PIXELS // images[:, 0].numel())

    def pull(cotangents: Tensor) -> Tensor:
        with torch.no_grad():  # the products are not differentiated again: layers keep their fused backward pass
            return torch.func.vmap(lambda each: product(each)[0], chunk_size=at_once)(cotangents)

    return features.detach(), pull


def in_parts(products: Products) -> Products:
    """`products` of as many images at a time as keep `KEPT` bytes for the way back, whatever M is.

    Where there are more, each is seen twice: first for the features, then part by part for the products.
    """

    def of(view: View, images: Tensor) -> tuple[Tensor, Pull]:
        size = max(1, KEPT // footprint_in(view.network, images.shape[-1], view.dtype, view.readout).kept)
        if len(images) <= size:
            return products(view, images)
        parts = images.detach().split(size)
        with torch.no_grad():
            features = torch.cat([view(part) for part in parts])

        def pull(cotangents: Tensor) -> Tensor:
            each = zip(parts, cotangents.split(size, 1), strict=True)
            return torch.cat([products(view, part)[1](own) for part, own in each], 1)

        return features, pull

    return of
