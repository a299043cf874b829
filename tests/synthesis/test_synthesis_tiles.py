"""Tiles: what they hold, what they decode to, and which factors they take."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dgdd_cli.config import resolve
from dgdd_cli.errors import UsageError
from dgdd_cli.synthesis.parameterisation import parameterisation, training_images
from dgdd_cli.synthesis.tiles import Tiles


def real(count: int, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("factor", [2, 4])
def test_a_stored_image_is_a_grid_of_shrunk_images_row_by_row(factor):
    images, side = real(2 * factor**2), 16 // factor
    stored = Tiles(factor, 16).encode(images)["images"]
    assert stored.shape == (2, 3, 16, 16)
    for number, image in enumerate(images):
        owner, tile = divmod(number, factor**2)
        row, column = divmod(tile, factor)
        found = stored[owner, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
        torch.testing.assert_close(found, F.interpolate(image[None], size=side, mode="area")[0])


@pytest.mark.parametrize("factor", [2, 4])
def test_a_tile_decodes_to_its_bilinear_enlargement(factor):
    coding = Tiles(factor, 16)
    stored, side = real(3), 16 // factor
    images, owners = coding.decode({"images": stored})
    assert images.shape == (3 * factor**2, 3, 16, 16)
    assert owners.tolist() == [number // factor**2 for number in range(len(images))]
    tile = stored[1:2, :, :side, -side:]  # the last of the first row
    wanted = F.interpolate(tile, size=16, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(images[factor**2 + factor - 1], wanted)


def test_no_tile_feels_another():
    stored = real(1).requires_grad_()
    images, _ = Tiles(2, 16).decode({"images": stored})
    (gradient,) = torch.autograd.grad(images[1].sum(), stored)
    assert gradient[:, :, :8, 8:].sum() == pytest.approx(3 * 16 * 16)
    gradient[:, :, :8, 8:] = 0
    assert not gradient.any()


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(factor=st.sampled_from([2, 3, 4]), seed=st.integers(0, 2**31))
def test_bytes_decode_to_bytes_and_are_stored_as_they_are(factor, seed):
    coding = Tiles(factor, 12)
    stored = torch.randint(256, (2, 3, 12, 12), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    assert torch.equal(coding.store(coding.load({"images": stored}))["images"], stored)
    images, _ = training_images(coding, {"images": stored})
    assert images.dtype == torch.uint8
    assert images.shape == (2 * factor**2, 3, 12, 12)


@pytest.mark.parametrize(
    ("factor", "words", "hint"),
    [
        (3, "a factor of 3 does not divide images of 16 pixels", "--factor 1, 2, 4, 8"),
        (0, "factor is 0: not a whole number from 1 on", "--factor 2"),
        (-2, "factor is -2: not a whole number from 1 on", "--factor 2"),
        (2.0, "factor is 2.0: not a whole number from 1 on", "--factor 2"),
        (True, "factor is True: not a whole number from 1 on", "--factor 2"),
        (None, "factor is None: not a whole number from 1 on", "--factor 2"),
        ("x", "factor is 'x': not a whole number from 1 on", "--factor 2"),
    ],
)
def test_factors_that_are_none_or_do_not_divide_the_image(factor, words, hint):
    with pytest.raises(UsageError, match=words) as caught:
        parameterisation("tiles", {"factor": factor}, 16)
    assert caught.value.hint == hint


def test_a_factor_alone_means_tiles_and_one_means_pixels():
    def synthesis(*assignments: str) -> dict:
        return resolve({"dataset": "digits", "method": "dm"}, assignments=assignments).recipe.synthesis.model_dump()

    assert synthesis() == {"name": "pixels"}
    assert synthesis("synthesis.factor=1") == {"name": "pixels"}
    assert synthesis("synthesis.factor=2") == {"name": "tiles", "factor": 2}
    assert synthesis("synthesis.name=tiles", "synthesis.factor=4") == {"name": "tiles", "factor": 4}
    assert synthesis("synthesis.name=tiles", "synthesis.factor=1") == {"name": "pixels"}
