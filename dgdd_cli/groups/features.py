"""What K-means compares images by: their pixels, their power spectrum, or features of a random network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dgdd_cli.data.images import Images
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.groups.spectrum import radial_log_power
from dgdd_cli.networks import build
from dgdd_cli.runtime.context import Context

Features = Literal["pixels", "spectrum", "convnet"]

_PIXEL_SIDE = 32  # larger images are averaged down to this before their pixels become features
_BATCH_PIXELS = 2**18  # per forward pass: 256 images of 32 x 32


def features_of(context: Context, dataset: Images, features: Features) -> Tensor:
    """Float32 features of every image, (N, F)."""
    count, size = len(dataset), dataset.image_size
    look = _look(context, dataset, features)
    vectors = torch.empty(0, 0)
    done = 0
    for images in dataset.batches(max(1, _BATCH_PIXELS // (size * size))):
        with torch.no_grad():
            found = look(images.float() / 255)  # (B, 3, H, W) -> (B, F)
        if not len(vectors):
            vectors = found.new_empty(count, found.shape[1])  # held once: a list to be joined would double it
        vectors[done : done + len(found)] = found
        done += len(found)
        context.progress("features", done, count)
    return vectors


def describe(dataset: Images, features: Features) -> str:
    """The features in words, for the record."""
    size = dataset.image_size
    if features == "pixels":
        side = min(size, _PIXEL_SIDE)
        return f"pixels in [0, 1] at {side} x {side}"
    if features == "spectrum":
        return f"spectrum: log power in rings of frequency at {size} px"
    norm = normalisation_of(dataset)
    return f"last block of a random convnet at {size} px, pixels normalised by {norm.origin}"


def _look(context: Context, dataset: Images, features: Features) -> Callable[[Tensor], Tensor]:
    """Images (B, 3, H, W) in [0, 1] -> (B, F)."""
    size = dataset.image_size
    if features == "pixels":
        return lambda images: F.adaptive_avg_pool2d(images, min(size, _PIXEL_SIDE)).flatten(1)
    if features == "spectrum":
        return radial_log_power
    norm = normalisation_of(dataset)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (norm.mean, norm.std))
    network = build(
        "convnet", num_classes=len(dataset.class_names), image_size=size, generator=context.stream("cluster", "network")
    ).eval()
    return lambda images: network.features((images - mean) / std)
