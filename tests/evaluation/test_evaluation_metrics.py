import itertools

import numpy as np
import pytest
import torch

from dgdd_cli.evaluation.metrics import accuracy, expected_calibration_error, loss_cvar, per_class_accuracy, score


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
    groups = torch.arange(200) % 3
    found = score(probabilities, labels, tail=0.2, groups=groups, num_groups=4)
    assert found.accuracy == accuracy(probabilities, labels)
    assert found.ece == expected_calibration_error(probabilities, labels)
    assert torch.equal(found.per_class, per_class_accuracy(probabilities, labels))
    assert found.loss_cvar == loss_cvar(probabilities, labels, 0.2)
    assert score(probabilities, labels, tail=0.2).per_group.tolist() == []
    for g in range(3):
        assert float(found.per_group[g]) == accuracy(probabilities[groups == g], labels[groups == g])
    assert torch.isnan(found.per_group[3])


@pytest.mark.parametrize("tail", [0.013, 0.1, 1.0])
def test_the_cvar_of_the_test_loss_against_numpy(tail):
    probabilities, labels = sample()
    losses = np.sort(-np.log(probabilities.double().numpy()[np.arange(200), labels.numpy()]))[::-1]
    weights = np.clip(tail * 200 - np.arange(200), 0, 1) / (tail * 200)
    assert loss_cvar(probabilities, labels, tail) == pytest.approx(float(weights @ losses), rel=1e-9)


def test_a_probability_of_zero_costs_much_but_not_everything():
    assert loss_cvar(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([1, 0]), 0.5) == pytest.approx(87.3, abs=0.1)
