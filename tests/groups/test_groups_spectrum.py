"""The radial power spectrum: against NumPy, and what leaves it as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dgdd_cli.groups.spectrum import radial_log_power


def pictures(count: int, size: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)


@pytest.mark.parametrize("size", [5, 8, 16])
def test_rings_are_means_of_the_power_at_one_distance(size):
    images = pictures(2, size)
    found = radial_log_power(images).view(2, 3, size // 2 + 1).numpy()
    power = np.abs(np.fft.fftshift(np.fft.fft2(images.numpy(), norm="ortho"), axes=(2, 3))) ** 2
    place = np.arange(size) - size // 2
    distance = np.minimum(np.rint(np.sqrt(place[:, None] ** 2 + place[None] ** 2)), size // 2)
    for ring in range(size // 2 + 1):
        expected = np.log(power[:, :, distance == ring].mean(-1) + 1e-6)
        np.testing.assert_allclose(found[:, :, ring], expected, rtol=1e-9)


def test_where_and_which_way_round_makes_no_difference():
    images = pictures(3, 8)
    expected = radial_log_power(images)
    for other in (images.roll((3, 5), (2, 3)), images.flip(3), images.rot90(1, (2, 3))):
        torch.testing.assert_close(radial_log_power(other), expected)


def test_a_flat_image_has_power_at_zero_alone_and_a_black_one_none():
    flat, black = torch.full((1, 3, 8, 8), 0.5), torch.zeros(1, 3, 8, 8)
    rings = radial_log_power(flat).view(3, 5).exp()
    torch.testing.assert_close(rings[:, 0], torch.full((3,), 64 * 0.25), rtol=1e-5, atol=0)
    assert float(rings[:, 1:].max()) < 2e-6
    assert radial_log_power(black).isfinite().all()


def test_strokes_and_smooth_shades_lie_apart():
    shade = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)
    strokes = (torch.arange(16) % 2).float().expand(1, 3, 16, 16)
    assert float((radial_log_power(strokes) - radial_log_power(shade)).view(3, 9)[:, -1].min()) > 3
