"""Differentiable siamese augmentation, on synthetic and real images alike."""

from dgdd_cli.augment.siamese import OPERATIONS, Draw, draw, for_dataset, parse

__all__ = ["OPERATIONS", "Draw", "draw", "for_dataset", "parse"]
