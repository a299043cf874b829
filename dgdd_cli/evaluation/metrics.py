"""Figures of a trained network on a labelled target: pure functions of probabilities and labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Score:
    """One network on one target. Accuracies are shares in [0, 1]; a class without test images has none (NaN)."""

    accuracy: float
    per_class: Tensor  # (C,) float64
    ece: float


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Share of images whose most probable class is their label."""
    return float((probabilities.argmax(1) == labels).double().mean())


def per_class_accuracy(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Share of right answers within each class, float64 (C,); NaN where a class has no image."""
    classes = probabilities.shape[1]
    right = (probabilities.argmax(1) == labels).double()
    totals = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels, right)
    return totals / torch.bincount(labels, minlength=classes)


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """ECE = Σ_b n_b/N · |accuracy_b − confidence_b| over equal-width bins of confidence (Guo et al. 2017)."""
    confidence, answer = probabilities.double().max(1)
    right = (answer == labels).double()
    which = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, which, right - confidence)
    return float(gaps.abs().sum() / len(labels))


def score(probabilities: Tensor, labels: Tensor) -> Score:
    """All figures of one network on one target: probabilities float (N, C), labels int64 (N,)."""
    return Score(
        accuracy(probabilities, labels),
        per_class_accuracy(probabilities, labels),
        expected_calibration_error(probabilities, labels),
    )
