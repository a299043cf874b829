"""A method from outside the package: images drift to the mean of their class, in pixels."""

import torch

from dgdd_cli.methods.method import Method
from dgdd_cli.methods.state import Descent, Stepped, Steps
from dgdd_cli.synthesis.pixels import to_unit


def steps(context, source, recipe, state, parts):
    classes = [(source.labels == c).nonzero().squeeze(1) for c in range(len(source.class_names))]
    means = torch.stack([sum(to_unit(b).sum(0) for b in source.batches(64, rows)) / len(rows) for rows in classes])

    def gradient(tensors, number, standing):
        away = tensors["images"] - means[state.labels]
        return Stepped({"images": away}, standing, {"loss": away.square().mean()})

    return Steps(gradient, resumable=lambda step: step % 2 == 0)


def shifting_steps(context, source, recipe, state, parts):
    """The same towards means that move: an offset of each class is learnt beside the images, at a rate of its own."""
    plain = steps(context, source, recipe, state, parts)

    def gradient(tensors, number, standing):
        offset = tensors["offset"][state.labels]  # (N, 3, 1, 1)
        found = plain.gradient({"images": tensors["images"] - offset}, number, standing)
        pull = torch.stack([found.gradients["images"][state.labels == c].mean() for c in state.labels.unique()])
        return Stepped(
            {**found.gradients, "offset": (tensors["offset"] - 0.5) + pull.view(-1, 1, 1, 1)}, standing, found.figures
        )

    own = torch.zeros(len(source.class_names), 3, 1, 1)
    return Steps(gradient, tensors={"offset": own}, descents={"offset": Descent(0.05, momentum=0.9)})


DRIFT = Method(lambda recipe, image_size: None, steps)
SHIFT = Method(lambda recipe, image_size: None, shifting_steps)
