"""Whether a trainer can act at all on a training set and a network."""

from __future__ import annotations

from torch import Tensor

from dgdd_cli.errors import UsageError
from dgdd_cli.evaluation.trainers.trainer import Trainer
from dgdd_cli.networks import Backbone
from dgdd_cli.synthesis.labels import Labels
from dgdd_cli.text import plural


def check_domains(name: str, trainer: Trainer, training_set: str, domains: Tensor) -> None:
    """Raise UsageError unless images with these domains int64 (N,) let a trainer that needs it compare two domains."""
    known = domains[domains >= 0].unique()
    if trainer.needs_domains and len(known) < 2:
        why = "come from one domain only" if len(known) else "are mixtures of domains (no image has one of its own)"
        raise UsageError(
            f"the trainer {name!r} compares domains, but the images of {training_set} {why}", hint="--trainer erm"
        )


def check_labels(name: str, trainer: Trainer, training_set: str, labels: Labels) -> None:
    """Raise UsageError for labels of a kind that the trainer cannot use."""
    if labels.kind not in trainer.labels:
        raise UsageError(
            f"the trainer {name!r} cannot use {labels.kind} labels, which those of {training_set} are",
            hint="--trainer erm",
        )


def check_network(name: str, trainer: Trainer, network: str, backbone: Backbone, image_size: int) -> None:
    """Raise UsageError for a network that may not be trained, whose blocks the trainer cannot act between, or that has
    fewer of them at images of this size than it needs."""
    if not backbone.trainable:
        raise UsageError(
            f"evaluate trains its students, and {network} may not be trained", hint="--network convnet, or resnet18"
        )
    trainer.check(backbone)
    if (depth := len(backbone.depths)) < trainer.min_depth:
        count = "one block" if depth == 1 else plural(depth, "block")
        raise UsageError(
            f"the trainer {name!r} acts after the early blocks, and a {network} at {image_size} px has {count} only",
            hint="--trainer erm, or distil at 16 px or more",
        )
