"""How much memory a pass takes, found without running it: on meta tensors, which have sizes and no content."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dgdd_cli.networks.build import NETWORKS, Network

ACTIVATIONS = 2**29  # bytes that a pass without gradients may take
MOST = 256  # images a pass: larger ones only cost memory
COPIES = 8  # float32 copies of an image that are alive while it is augmented


class _Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive among those made while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage(), before)
        return found

    def _count(self, storage: torch.UntypedStorage, before: set[int]) -> None:
        if id(storage) in before or storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.now -= size


def peak_bytes(work: Callable[[], object]) -> int:
    """The largest number of bytes that the tensors made by `work` take at one time, on whatever device."""
    return _measured(work)[0]


def _measured(work: Callable[[], object]) -> tuple[int, int]:
    """Bytes at the peak, and what is left while the result is held."""
    with _Live() as live:
        result = work()
        left = live.now
    del result
    return live.peak, left


class Footprint(NamedTuple):
    """Bytes of one image: at the peak of a pass without gradients, its augmentation included, and kept for a backward
    pass."""

    peak: int
    kept: int


@cache
def footprint(name: str, *, image_size: int, width: int, dtype: torch.dtype = torch.float32) -> Footprint:
    """What an image of (3, image_size, image_size) takes in the network `name`."""
    with torch.device("meta"):
        network = NETWORKS[name](num_classes=1, image_size=image_size, width=width).to(dtype).eval()
        network.requires_grad_(False)
        image = torch.empty(1, 3, image_size, image_size, dtype=dtype)
    with torch.no_grad():
        peak = peak_bytes(lambda: network.features(image))
    kept = _measured(lambda: network.features(image.requires_grad_()))[1]
    return Footprint(peak + COPIES * 4 * image[0].numel(), kept)


def footprint_in(network: Network, image_size: int, dtype: torch.dtype = torch.float32) -> Footprint:
    """The footprint in a network that is there."""
    name = next(name for name, kind in NETWORKS.items() if isinstance(network, kind))
    return footprint(name, image_size=image_size, width=network.width, dtype=dtype)


def images_at_once(network: Network, image_size: int, dtype: torch.dtype = torch.float32) -> int:
    """How many images of (3, image_size, image_size) a pass without gradients takes: `MOST`, or what `ACTIVATIONS`
    hold. Free memory has no say: the same images make the same sums everywhere."""
    return max(1, min(MOST, ACTIVATIONS // footprint_in(network, image_size, dtype).peak))


@cache
def backward_bytes(
    name: str,
    *,
    images: int,
    image_size: int,
    width: int,
    of: Literal["pixels", "weights"],
    dtype: torch.dtype = torch.float32,
) -> int:
    """Bytes at the peak of a forward and a backward pass of `images` images, to their pixels or to the weights."""
    with torch.device("meta"):
        network = NETWORKS[name](num_classes=1, image_size=image_size, width=width).to(dtype)
        batch = torch.empty(images, 3, image_size, image_size, dtype=dtype)
    network.requires_grad_(of == "weights")
    wanted = list(network.parameters()) if of == "weights" else [batch.requires_grad_()]
    return peak_bytes(lambda: torch.autograd.grad(network(batch).sum(), wanted))
