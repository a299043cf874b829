"""The protocol of a backbone: what everything above may ask of a network, whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from dgdd_cli.data.dataset import Normalisation

DRAWN = "drawn"  # the identity of weights that `initialise` draws from its generator


class Backbone(Protocol):
    """An nn.Module from float images (N, 3, S, S) to logits (N, C), with features at named depths.

    Pure: logits, maps and features are functions of parameters, buffers and images alone, so that
    `torch.func.functional_call` differentiates through them.
    """

    @property
    def classifier(self) -> nn.Module:
        """From features (N, F) to logits (N, C)."""
        ...

    @property
    def depths(self) -> tuple[str, ...]:
        """The names of the blocks, shallow to deep."""
        ...

    @property
    def normalisation(self) -> Normalisation | None:
        """What its images are normalised by; None: by the statistics of the data."""
        ...

    @property
    def input_size(self) -> int | None:
        """The side of the images that it takes; None: any."""
        ...

    @property
    def trainable(self) -> bool:
        """Whether its parameters may be trained."""
        ...

    @property
    def identity(self) -> str:
        """Where its weights come from: `DRAWN`, or a name or hash that changes when the weights do."""
        ...

    @property
    def batch_normalised(self) -> bool:
        """Whether, in training mode, what it makes of an image depends on the others in its batch."""
        ...

    def initialise(self, generator: torch.Generator) -> None:
        """Fill every parameter and buffer, which hold nothing yet: drawn from `generator`, or loaded."""
        ...

    def maps(self, images: Tensor, depths: Sequence[str]) -> tuple[Tensor, ...]:
        """The maps (N, C, h, w) at each of the named depths, in one pass that ends at the deepest."""
        ...

    def features(self, images: Tensor, depth: str | None = None) -> Tensor:
        """Features (N, F) at a depth; None: what the classifier reads."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, C)."""
        ...

    # of nn.Module
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def buffers(self) -> Iterator[Tensor]: ...
    def to(self, *args: Any, **kwargs: Any) -> Self: ...
    def to_empty(self, *, device: Any) -> Self: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...
    def requires_grad_(self, requires_grad: bool = True) -> Self: ...


class Builder(Protocol):
    """What `NETWORKS` holds: makes a backbone whose weights hold nothing yet, on whatever device is the default.

    `width` is that of a network that has one to choose.
    """

    def __call__(self, *, num_classes: int, image_size: int, width: int) -> Backbone: ...


Look = Callable[[Backbone, Tensor], Tensor]  # a backbone and normalised images to what is asked of them, (N, ...)


def features(backbone: Backbone, images: Tensor) -> Tensor:
    """What the classifier reads, (N, F)."""
    return backbone.features(images)


def normalised_by(backbone: Backbone, of_data: Normalisation) -> Normalisation:
    """What the images of a backbone are normalised by: its own statistics, where it has some."""
    return backbone.normalisation or of_data
