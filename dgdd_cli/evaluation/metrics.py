"""Figures of a trained network on a labelled target: pure functions of probabilities and labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.core import cvar

NO_GROUPS = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, slots=True)
class Score:
    """One network on one target. Accuracies are shares in [0, 1]; a class or group without images has none (NaN)."""

    accuracy: float
    per_class: Tensor  # (C,) float64
    ece: float
    loss_cvar: float
    per_group: Tensor  # (G,) float64; G = 0 where no groups were asked for


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Share of images whose most probable class is their label."""
    return float((probabilities.argmax(1) == labels).double().mean())


def per_class_accuracy(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Share of right answers within each class, float64 (C,); NaN where a class has no image."""
    return per_group_accuracy(probabilities, labels, labels, probabilities.shape[1])


def per_group_accuracy(probabilities: Tensor, labels: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Share of right answers within each group of `groups` int64 (N,), float64 (G,); NaN where a group is empty."""
    right = (probabilities.argmax(1) == labels).double()
    totals = torch.zeros(num_groups, dtype=torch.float64).index_add_(0, groups, right)
    return totals / torch.bincount(groups, minlength=num_groups)


def loss_cvar(probabilities: Tensor, labels: Tensor, tail: float) -> float:
    """The mean cross-entropy −ln p(label) over the worst `tail` share of the images.

    A probability that float32 rounded to 0 counts as its smallest normal number: a loss of at most 87.4.
    """
    chosen = probabilities.gather(1, labels[:, None]).squeeze(1)  # (N,)
    losses = -chosen.clamp(min=torch.finfo(torch.float32).tiny).double().log()
    return float(cvar(losses, tail, kernels="torch"))


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """ECE = Σ_b n_b/N · |accuracy_b − confidence_b| over equal-width bins of confidence (Guo et al. 2017)."""
    confidence, answer = probabilities.double().max(1)
    right = (answer == labels).double()
    which = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, which, right - confidence)
    return float(gaps.abs().sum() / len(labels))


def score(
    probabilities: Tensor, labels: Tensor, *, tail: float, groups: Tensor = NO_GROUPS, num_groups: int = 0
) -> Score:
    """All figures of one network on one target: probabilities float (N, C), labels and groups int64 (N,)."""
    grouped = num_groups > 0
    return Score(
        accuracy(probabilities, labels),
        per_class_accuracy(probabilities, labels),
        expected_calibration_error(probabilities, labels),
        loss_cvar(probabilities, labels, tail),
        per_group_accuracy(probabilities, labels, groups, num_groups) if grouped else torch.empty(0).double(),
    )
