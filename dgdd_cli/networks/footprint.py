"""How much memory a pass takes, found without running it: on meta tensors, which have sizes and no content."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dgdd_cli.networks.backbone import Backbone, Look, features
from dgdd_cli.networks.build import blueprint

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


_KNOWN: dict[tuple[object, ...], Footprint] = {}


@cache
def footprint(name: str, *, image_size: int, width: int, dtype: torch.dtype = torch.float32) -> Footprint:
    """What the features of an image of (3, image_size, image_size) take in the network `name`."""
    return footprint_in(blueprint(name, image_size=image_size, width=width), image_size, dtype)


def footprint_in(
    network: Backbone, image_size: int, dtype: torch.dtype = torch.float32, look: Look = features
) -> Footprint:
    """What `look` at an image takes in a network that is there, computing in `dtype`; measured once for networks of
    one type with parameters of the same sizes."""
    key = (type(network), *(value.shape for value in network.parameters()), image_size, dtype, look)
    if key not in _KNOWN:
        _KNOWN[key] = _measure(network, image_size, dtype, look)
    return _KNOWN[key]


def _measure(network: Backbone, image_size: int, dtype: torch.dtype, look: Look) -> Footprint:
    own = copy.deepcopy(network).to("meta", dtype).eval().requires_grad_(False)
    image = torch.empty(1, 3, image_size, image_size, dtype=dtype, device="meta")
    with torch.no_grad():
        peak = peak_bytes(lambda: look(own, image))
    kept = _measured(lambda: look(own, image.requires_grad_()))[1]
    return Footprint(peak + COPIES * 4 * image[0].numel(), kept)


def images_at_once(
    network: Backbone, image_size: int, dtype: torch.dtype = torch.float32, look: Look = features
) -> int:
    """How many images of (3, image_size, image_size) a pass without gradients takes: `MOST`, or what `ACTIVATIONS`
    hold. Free memory has no say: the same images make the same sums everywhere."""
    return max(1, min(MOST, ACTIVATIONS // footprint_in(network, image_size, dtype, look).peak))


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
    network = blueprint(name, image_size=image_size, width=width).to(dtype)
    batch = torch.empty(images, 3, image_size, image_size, dtype=dtype, device="meta")
    network.requires_grad_(of == "weights")
    wanted = list(network.parameters()) if of == "weights" else [batch.requires_grad_()]
    return peak_bytes(lambda: torch.autograd.grad(network(batch).sum(), wanted))
