"""What a training image is taught: a class, a distribution over the classes, or regression targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Kind = Literal["hard", "probability", "regression"]
SUMS_TO_ONE = 1e-3  # how far the rows of probabilities may be off


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels of M training images of C classes; `soft` is None for hard ones.

    What is `derived` from checked labels is not checked again: within a training loop, or a mapped function, no value
    may be read back.
    """

    kind: Kind
    classes: Tensor  # (M,) int64
    soft: Tensor | None = None  # (M, C) float32
    derived: InitVar[bool] = field(default=False, kw_only=True)

    def __post_init__(self, derived: bool) -> None:
        if derived:
            return
        if (self.kind == "hard") != (self.soft is None):
            raise ValueError(f"{self.kind} labels {'hold' if self.soft is not None else 'lack'} values of every class")
        if self.soft is not None and (self.soft.ndim != 2 or len(self.soft) != len(self.classes)):
            raise ValueError(f"soft labels must be (M, C) for {len(self.classes)} images, got {tuple(self.soft.shape)}")
        if self.kind == "probability" and self.soft is not None and not is_probability(self.soft):
            raise ValueError("probabilities must be non-negative and sum to 1")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The classes, and the soft labels where there are any."""
        return (self.classes,) if self.soft is None else (self.classes, self.soft)

    def of(self, tensors: Sequence[Tensor]) -> Labels:
        """Labels of this kind from `tensors` in the order of one's own, however they were indexed or moved."""
        return Labels(self.kind, *tensors, derived=True)

    def at(self, rows: Tensor | int) -> Labels:
        """The labels of some of the images."""
        return self.of([tensor[rows] for tensor in self.tensors])

    def to(self, device: torch.device) -> Labels:
        """The same labels on a device."""
        return self.of([tensor.to(device) for tensor in self.tensors])

    @property
    def stored_bytes(self) -> int:
        """Bytes of all that is taught, at its stored type."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors)


def label_losses(logits: Tensor, labels: Labels) -> Tensor:
    """The loss of each image, float (B,): cross-entropy; soft cross-entropy −Σ y log p; or ‖z − y‖²/C.

    logits z (B, C). Regression labels are centred targets: what a student adds to every class says nothing.
    """
    if labels.soft is None:
        return F.cross_entropy(logits, labels.classes, reduction="none")
    if labels.kind == "probability":
        return F.cross_entropy(logits, labels.soft, reduction="none")
    return (logits - labels.soft).square().mean(1)


def label_kind(stated: Kind | None, soft: Tensor | None) -> Kind:
    """The kind of a bundle's labels: what its manifest states, or what its soft labels (M, C) are if it states none.

    Raises ValueError where the values are not of the kind, or are missing, or are none that can be learnt.
    """
    if soft is None:
        if stated not in (None, "hard"):
            raise ValueError(f"label_kind is {stated!r}, and the tensor 'soft_labels' is missing")
        return "hard"
    if stated == "hard":
        raise ValueError("label_kind is 'hard', and it holds the tensor 'soft_labels'")
    if stated != "regression" and not is_probability(soft):
        said = "label_kind is missing" if stated is None else f"label_kind is {stated!r}"
        raise ValueError(f"{said}, and rows of 'soft_labels' are negative or do not sum to 1")
    return stated or "probability"


def is_probability(values: Tensor) -> bool:
    """Whether rows are non-negative and sum to 1."""
    return bool((values >= 0).all()) and bool(((values.sum(1) - 1).abs() <= SUMS_TO_ONE).all())
