"""The exponentiated weights of group-DRO against float64 NumPy, and where a naive product would fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dgdd_cli.core import exponentiated_weights

VALUES = torch.tensor([0.3, 2.0, -1.0, 0.7], dtype=torch.float64)
COUNTS = torch.tensor([100, 4, 25, 1])
QUARTERS = torch.full((4,), 0.25, dtype=torch.float64)


@pytest.mark.parametrize(("rate", "adjustment"), [(0.01, 0.0), (0.5, 0.0), (0.5, 3.0)])
def test_many_rounds_agree_with_the_definition(rate: float, adjustment: float) -> None:
    draw = torch.Generator().manual_seed(0)
    ours, oracle = QUARTERS, np.full(4, 0.25)
    for _ in range(20):
        values = torch.randn(4, generator=draw, dtype=torch.float64)
        ours = exponentiated_weights(ours, values, COUNTS, rate=rate, adjustment=adjustment)
        oracle = oracle * np.exp(rate * (values.numpy() + adjustment / np.sqrt(COUNTS.numpy())))
        oracle /= oracle.sum()
        np.testing.assert_allclose(ours.numpy(), oracle, rtol=1e-12)
    assert float(ours.sum()) == pytest.approx(1)


def test_the_same_loss_round_after_round_takes_over_and_equal_ones_change_nothing() -> None:
    ours = QUARTERS
    for _ in range(200):
        ours = exponentiated_weights(ours, VALUES, COUNTS, rate=0.1)
    assert float(ours[1]) > 0.999
    assert torch.equal(exponentiated_weights(QUARTERS, torch.full((4,), 9.0), COUNTS, rate=0.1), QUARTERS)
    assert torch.equal(exponentiated_weights(QUARTERS, VALUES, COUNTS, rate=0.0), QUARTERS)


def test_groups_without_images_keep_their_weight_up_to_the_common_factor() -> None:
    standing = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    counts, values = torch.tensor([5, 0, 0, 7]), torch.tensor([1.0, torch.nan, torch.inf, 2.0], dtype=torch.float64)
    found = exponentiated_weights(standing, values, counts, rate=0.5, adjustment=2.0)
    assert float(found[1] / found[2]) == pytest.approx(2 / 3)
    raised = 0.1 * np.exp(0.5 * (1 + 2 / np.sqrt(5)))
    assert float(found[0] / found[1]) == pytest.approx(raised / 0.2)
    torch.testing.assert_close(
        exponentiated_weights(standing, values, torch.zeros(4), rate=0.5, adjustment=2.0), standing
    )


def test_a_small_group_is_raised_by_the_adjustment() -> None:
    found = exponentiated_weights(QUARTERS, torch.ones(4), COUNTS, rate=1.0, adjustment=1.0)
    assert found.argsort().tolist() == [0, 2, 1, 3]


def test_blocks_are_weighted_apart() -> None:
    blocks = torch.tensor([2, 0, 2, 0])
    standing = torch.tensor([0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
    found = exponentiated_weights(standing, VALUES, COUNTS, rate=0.7, blocks=blocks, num_blocks=3)
    for block in (0, 2):
        member = blocks == block
        alone = exponentiated_weights(standing[member], VALUES[member], COUNTS[member], rate=0.7)
        torch.testing.assert_close(found[member], alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e3, 1e30])
def test_huge_losses_neither_overflow_nor_lose_their_order(dtype: torch.dtype, scale: float) -> None:
    found = exponentiated_weights(QUARTERS.to(dtype), VALUES.to(dtype) * scale, COUNTS, rate=0.5)
    assert found.dtype == dtype
    assert found.tolist() == pytest.approx([0, 1, 0, 0])


def test_infinite_and_nan_losses() -> None:
    inf, nan = torch.inf, torch.nan
    both = exponentiated_weights(QUARTERS, torch.tensor([inf, 1.0, -inf, inf]), COUNTS, rate=0.1)
    assert both.tolist() == pytest.approx([0.5, 0, 0, 0.5])
    blocks = torch.tensor([0, 0, 1, 1])
    half = exponentiated_weights(
        QUARTERS, torch.tensor([nan, 1.0, 1.0, 1.0]), COUNTS, rate=0.1, blocks=blocks, num_blocks=2
    )
    assert half[:2].isnan().all()
    assert half[2:].tolist() == [0.5, 0.5]
    assert exponentiated_weights(half, VALUES, COUNTS, rate=0.1).isnan().all()


def test_a_weight_that_underflowed_rises_again() -> None:
    gone = exponentiated_weights(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1e6]), torch.ones(2), rate=1.0)
    assert gone.tolist() == [0, 1]
    back = exponentiated_weights(gone, torch.tensor([100.0, 0.0]), torch.ones(2), rate=1.0)
    assert float(back[0]) > 0.99


def test_no_gradient_and_the_input_stays_as_it_was() -> None:
    values, standing = VALUES.clone().requires_grad_(), QUARTERS.clone()
    assert not exponentiated_weights(standing, values, COUNTS, rate=0.1).requires_grad
    assert torch.equal(standing, QUARTERS)


def test_not_one_value_is_looked_at_on_a_device() -> None:
    row = torch.ones(4, device="meta")  # reading a meta tensor raises, where reading a CUDA one would wait for it
    found = exponentiated_weights(row, row, row, rate=0.1, blocks=row.long(), num_blocks=2)
    assert (found.device.type, found.shape) == ("meta", (4,))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"standing": torch.ones(2, 2)}, r"standing must be \(G,\)"),
        ({"standing": torch.ones(0)}, "at least one group"),
        ({"standing": torch.ones(4).long()}, "standing must be float32 or float64"),
        ({"standing": -torch.ones(4)}, "must not be negative"),
        ({"values": torch.ones(3)}, r"values must be \(4,\)"),
        ({"values": torch.ones(4).half()}, "values must be float32 or float64"),
        ({"counts": torch.ones(4).bool()}, "counts must be float32 or float64"),
        ({"counts": torch.ones(5)}, r"counts must be \(4,\)"),
        ({"rate": -0.1}, "rate must be"),
        ({"rate": float("nan")}, "rate must be"),
        ({"adjustment": float("inf")}, "adjustment must be"),
        ({"blocks": torch.tensor([0, 1, 2, 3])}, r"blocks must be in \[0, 1\)"),
        ({"num_blocks": 0}, "num_blocks must be at least 1"),
    ],
)
def test_wrong_input(changes: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"standing": QUARTERS, "values": VALUES, "counts": COUNTS, "rate": 0.1}
    with pytest.raises(ValueError, match=words):
        exponentiated_weights(**(arguments | changes))
