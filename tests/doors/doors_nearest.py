"""Soft labels by distance: what a user writes to teach an image how near it is to the real images of each class."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dgdd_cli.data.images import Images
from dgdd_cli.runtime.context import Context
from dgdd_cli.synthesis.labelling import Labeller
from dgdd_cli.synthesis.labels import Labels
from dgdd_cli.synthesis.pixels import to_unit


def nearest(settings: Mapping[str, Any]) -> Labeller:
    """Softmax over the classes of minus the distance of an image to each class's mean image, over `temperature`."""
    temperature = float(settings["temperature"])

    def label(context: Context, source: Images, images: Tensor, classes: Tensor) -> Labels:
        rows_of = [(source.labels == c).nonzero().squeeze(1) for c in range(len(source.class_names))]
        means = [sum(to_unit(b).sum(0) for b in source.batches(64, rows)) / len(rows) for rows in rows_of]
        distances = torch.cdist(to_unit(images).flatten(1), torch.stack(means).flatten(1))  # (M, C)
        return Labels("probability", classes, (-distances / temperature).softmax(1))

    return label


def centred(settings: Mapping[str, Any]) -> Labeller:
    """The same as regression targets: probabilities minus 1/C."""

    def label(context: Context, source: Images, images: Tensor, classes: Tensor) -> Labels:
        soft = nearest({"temperature": 1})(context, source, images, classes).soft
        return Labels("regression", classes, soft - 1 / len(source.class_names))

    return label
