"""Labels of every kind: what they hold, and the loss by which a student learns them."""

from __future__ import annotations

import pytest
import torch

from dgdd_cli.synthesis.labels import Labels, label_losses

CLASSES = torch.tensor([0, 2, 1])
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5], [0.0, 3.0, 0.0]])


def test_hard_labels_are_one_hot_probabilities() -> None:
    one_hot = torch.nn.functional.one_hot(CLASSES, 3).float()
    hard = label_losses(LOGITS, Labels("hard", CLASSES))
    soft = label_losses(LOGITS, Labels("probability", CLASSES, one_hot))
    torch.testing.assert_close(hard, soft)


def test_soft_cross_entropy_is_least_at_the_labels_themselves() -> None:
    soft = torch.tensor([[0.7, 0.2, 0.1]] * 3)
    labels = Labels("probability", CLASSES, soft)
    own = label_losses(soft.log(), labels)
    assert bool((label_losses(LOGITS, labels) > own).all())
    torch.testing.assert_close(own, -(soft * soft.log()).sum(1))


def test_regression_is_the_mean_squared_error() -> None:
    targets = torch.tensor([[0.6, -0.3, -0.3], [-0.3, -0.3, 0.6], [-0.4, 0.8, -0.4]])
    found = label_losses(LOGITS, Labels("regression", CLASSES, targets))
    assert float(found[0]) == pytest.approx(((2 - 0.6) ** 2 + 0.3**2 + 0.7**2) / 3)


@pytest.mark.parametrize(
    ("kind", "soft"),
    [
        ("hard", torch.ones(3, 3) / 3),
        ("probability", None),
        ("probability", torch.ones(3, 3)),
        ("probability", torch.tensor([[1.5, -0.5, 0.0]] * 3)),
        ("regression", torch.ones(2, 3)),
    ],
)
def test_what_does_not_fit_its_kind_is_refused(kind, soft) -> None:
    with pytest.raises(ValueError, match=r"labels|probabilities"):
        Labels(kind, CLASSES, soft)


def test_rows_and_bytes() -> None:
    labels = Labels("probability", CLASSES, torch.eye(3)[CLASSES])
    assert labels.stored_bytes == 3 * 8 + 9 * 4
    some = labels.at(torch.tensor([2, 0]))
    assert some.classes.tolist() == [1, 0]
    assert len(some) == 2
