import itertools

import numpy as np
import pytest
import torch

from dgdd_cli.evaluation.metrics import accuracy, expected_calibration_error, per_class_accuracy, score


def sample(n: int = 200, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, classes, generator=generator) * 2
    return logits.softmax(1), torch.randint(classes, (n,), generator=generator)


def test_accuracy_and_its_classes_against_a_loop():
    probabilities, labels = sample()
    right = [int(p.argmax()) == int(y) for p, y in zip(probabilities, labels, strict=True)]
    assert accuracy(probabilities, labels) == pytest.approx(sum(right) / len(right))
    per_class = per_class_accuracy(probabilities, labels)
    for c in range(4):
        mine = [r for r, y in zip(right, labels, strict=True) if int(y) == c]
        assert float(per_class[c]) == pytest.approx(sum(mine) / len(mine))


def test_a_class_without_images_has_no_accuracy():
    probabilities, labels = sample()
    per_class = per_class_accuracy(probabilities, labels.clamp(max=2))
    assert torch.isnan(per_class).tolist() == [False, False, False, True]


def test_calibration_error_against_numpy():
    probabilities, labels = sample()
    confidence = probabilities.numpy().astype(np.float64).max(1)
    right = probabilities.argmax(1).numpy() == labels.numpy()
    total, edges = 0.0, np.linspace(0, 1, 16)
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(probabilities, labels) == pytest.approx(total, abs=1e-9)


def test_certainty_is_calibrated_when_right_and_not_when_wrong():
    sure = torch.eye(3)
    assert expected_calibration_error(sure, torch.tensor([0, 1, 2])) == 0
    assert expected_calibration_error(sure, torch.tensor([1, 2, 0])) == 1


def test_score_holds_all_figures():
    probabilities, labels = sample()
    found = score(probabilities, labels)
    assert found.accuracy == accuracy(probabilities, labels)
    assert found.ece == expected_calibration_error(probabilities, labels)
    assert torch.equal(found.per_class, per_class_accuracy(probabilities, labels))
