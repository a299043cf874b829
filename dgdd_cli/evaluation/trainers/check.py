"""Whether a trainer can act at all on a training set and a network."""

from __future__ import annotations

from torch import Tensor

from dgdd_cli.errors import UsageError
from dgdd_cli.networks.convnet import depth_for


def check_domains(trainer: str, training_set: str, domains: Tensor) -> None:
    """Raise UsageError unless images with these domains int64 (N,) let a trainer compare two domains."""
    known = domains[domains >= 0].unique()
    if len(known) < 2:
        why = "come from one domain only" if len(known) else "are mixtures of domains (no image has one of its own)"
        raise UsageError(
            f"the trainer {trainer!r} compares domains, but the images of {training_set} {why}", hint="--trainer erm"
        )


def check_depth(trainer: str, network: str, image_size: int) -> None:
    """Raise UsageError for mixstyle where a ConvNet has no block before its last one."""
    if trainer == "mixstyle" and network == "convnet" and depth_for(image_size) < 2:
        raise UsageError(
            f"the trainer 'mixstyle' acts after the early blocks, and a convnet at {image_size} px has one block only",
            hint="--trainer erm, or distil at 16 px or more",
        )
