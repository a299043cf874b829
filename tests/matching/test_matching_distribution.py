import numpy as np
import torch

from dgdd_cli.matching import dm_losses


def test_dm_is_the_squared_distance_of_subset_means():
    random = np.random.default_rng(0)
    features, targets = random.normal(size=(7, 5)), random.normal(size=(3, 5))
    members = np.array([[1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0]], dtype=bool)
    expected = []
    for m in range(3):
        mean = features[members[m]].mean(0) if members[m].any() else np.zeros(5)
        expected.append(((mean - targets[m]) ** 2).sum())
    losses = dm_losses(torch.from_numpy(features), torch.from_numpy(members), torch.from_numpy(targets))
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-12)


def test_dm_gradient_against_finite_differences():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    members = torch.tensor([[True, True, False, True], [False, False, True, False]])
    assert torch.autograd.gradcheck(lambda f: dm_losses(f, members, targets), (features,))


def test_the_order_of_the_images_does_not_matter():
    generator = torch.Generator().manual_seed(2)
    features, targets = torch.randn(6, 4, generator=generator), torch.randn(2, 4, generator=generator)
    members = torch.tensor([[True, True, True, False, False, False], [False, False, False, True, True, True]])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(
        dm_losses(features, members, targets), dm_losses(features[order], members[:, order], targets)
    )
