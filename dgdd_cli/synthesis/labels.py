"""What a training image is taught: a class, a distribution over the classes, or regression targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Kind = Literal["hard", "probability", "regression"]
SUMS_TO_ONE = 1e-3  # how far the rows of probabilities may be off


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels of M training images of C classes; `soft` is None for hard ones."""

    kind: Kind
    classes: Tensor  # (M,) int64
    soft: Tensor | None = None  # (M, C) float32

    def __post_init__(self) -> None:
        if (self.kind == "hard") != (self.soft is None):
            raise ValueError(f"{self.kind} labels {'hold' if self.soft is not None else 'lack'} values of every class")
        if self.soft is not None and (self.soft.ndim != 2 or len(self.soft) != len(self.classes)):
            raise ValueError(f"soft labels must be (M, C) for {len(self.classes)} images, got {tuple(self.soft.shape)}")
        if self.kind == "probability" and self.soft is not None and not is_probability(self.soft):
            raise ValueError("probabilities must be non-negative and sum to 1")

    def __len__(self) -> int:
        return len(self.classes)

    def at(self, rows: Tensor) -> Labels:
        """The labels of some of the images."""
        return Labels(self.kind, self.classes[rows], None if self.soft is None else self.soft[rows])

    def to(self, device: torch.device) -> Labels:
        """The same labels on a device."""
        return Labels(self.kind, self.classes.to(device), None if self.soft is None else self.soft.to(device))

    @property
    def stored_bytes(self) -> int:
        """Bytes of all that is taught, at its stored type."""
        held = [self.classes] if self.soft is None else [self.classes, self.soft]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


def label_losses(logits: Tensor, labels: Labels) -> Tensor:
    """The loss of each image, float (B,): cross-entropy; soft cross-entropy −Σ y log p; or ‖z − y‖²/C.

    logits z (B, C). Regression labels are centred targets: what a student adds to every class says nothing.
    """
    if labels.soft is None:
        return F.cross_entropy(logits, labels.classes, reduction="none")
    if labels.kind == "probability":
        return F.cross_entropy(logits, labels.soft, reduction="none")
    return (logits - labels.soft).square().mean(1)


def is_probability(values: Tensor) -> bool:
    """Whether rows are non-negative and sum to 1."""
    return bool((values >= 0).all()) and bool(((values.sum(1) - 1).abs() <= SUMS_TO_ONE).all())
