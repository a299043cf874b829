import numpy as np
import torch

from dgdd_cli.matching.discrepancy import BANDWIDTHS, member_rows, mmd_losses

MEMBERS = torch.tensor([[1, 1, 0, 0, 1], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain_mmd(own: np.ndarray, real: np.ndarray) -> float:
    """Squared MMD of two samples by its definition, pair by pair."""
    squares = [((x - y) ** 2).sum() for x in real for y in real]
    scale = np.mean(squares)

    def mean_kernel(a: np.ndarray, b: np.ndarray) -> float:
        pairs = [((x - y) ** 2).sum() for x in a for y in b]
        return float(np.mean([np.exp(-np.array(pairs) / (2 * beta * scale)) for beta in BANDWIDTHS])) if pairs else 0.0

    return mean_kernel(own, own) - 2 * mean_kernel(own, real) + mean_kernel(real, real)


def test_mmd_is_the_definition():
    features, targets = draws(5, 4), draws(3, 6, 4, seed=1)
    found = mmd_losses(features, MEMBERS, targets)
    for m in range(3):
        expected = plain_mmd(features[MEMBERS[m]].numpy(), targets[m].numpy())
        np.testing.assert_allclose(float(found[m]), expected, rtol=1e-9)


def test_the_gradient_against_finite_differences():
    targets = draws(3, 6, 4, seed=1)
    features = draws(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: mmd_losses(f, MEMBERS, targets), (features,))


def test_equal_samples_have_no_discrepancy():
    features = draws(5, 4)
    own = torch.stack([features[:3], features[2:5]])
    members = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]], dtype=torch.bool)
    torch.testing.assert_close(mmd_losses(features, members, own), torch.zeros(2, dtype=torch.float64))


def test_it_sees_what_means_do_not():
    """Two samples with the same mean and other spreads."""
    real = torch.cat([draws(50, 3), -draws(50, 3)])[None]
    narrow = torch.zeros(4, 3, dtype=torch.float64)
    members = torch.ones(1, 4, dtype=torch.bool)
    assert float(mmd_losses(narrow, members, real)) > 0.1


def test_a_cell_without_variety_stays_finite():
    real = torch.ones(1, 5, 3, dtype=torch.float64)
    features = draws(2, 3).requires_grad_()
    loss = mmd_losses(features, torch.ones(1, 2, dtype=torch.bool), real)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(torch.autograd.grad(loss.sum(), features)[0]).all()


def test_the_rows_of_subsets_stand_for_their_mask():
    rows = member_rows(MEMBERS)
    assert rows.tolist() == [[0, 1, 4], [2, 3, -1], [-1, -1, -1]]
    features, targets = draws(5, 4), draws(3, 6, 4, seed=1)
    assert torch.equal(mmd_losses(features, rows, targets), mmd_losses(features, MEMBERS, targets))
    assert torch.isfinite(mmd_losses(features, member_rows(MEMBERS[2:]), targets[2:])).all()


def test_only_the_block_of_each_subset_is_built(dispatched):
    """Forty subsets of five images, against eight samples: no result holds all pairs of images, or all for a subset."""
    members = torch.eye(40, dtype=torch.bool).repeat_interleave(5, 1)  # (40, 200)
    features, targets = draws(200, 6).requires_grad_(), draws(40, 8, 6, seed=1)
    rows = member_rows(members)
    with dispatched() as seen:
        torch.autograd.grad(mmd_losses(features, rows, targets).sum(), features)
    assert seen.largest <= 40 * 8 * max(8, 6) * len(BANDWIDTHS)
    assert seen.calls["_local_scalar_dense"] == 0  # and nothing is read back
