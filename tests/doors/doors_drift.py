"""A method from outside the package: images drift to the mean of their class, in pixels."""

import torch

from dgdd_cli.methods.method import Method
from dgdd_cli.methods.state import Stepped, Steps
from dgdd_cli.synthesis.pixels import to_unit


def steps(context, source, recipe, state, parts):
    classes = [(source.labels == c).nonzero().squeeze(1) for c in range(len(source.class_names))]
    means = torch.stack([sum(to_unit(b).sum(0) for b in source.batches(64, rows)) / len(rows) for rows in classes])

    def gradient(tensors, number, standing):
        away = tensors["images"] - means[state.labels]
        return Stepped({"images": away}, standing, {"loss": away.square().mean()})

    return Steps(gradient, resumable=lambda step: step % 2 == 0)


DRIFT = Method(lambda recipe, image_size: None, steps)
