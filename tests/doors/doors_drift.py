"""A method from outside the package: images drift to the mean of their class, in pixels."""

import torch

from dgdd_cli.methods.method import Method
from dgdd_cli.methods.state import Stepped, Steps
from dgdd_cli.synthesis.pixels import to_unit


def steps(context, source, recipe, state, parts):
    real = to_unit(source.images)
    means = torch.stack([real[source.labels == c].mean(0) for c in range(len(source.class_names))])

    def gradient(tensors, number, standing):
        away = tensors["images"] - means[state.labels]
        return Stepped({"images": away}, standing, {"loss": away.square().mean()})

    return Steps(gradient, resumable=lambda step: step % 2 == 0)


DRIFT = Method(lambda recipe, image_size: None, steps)
