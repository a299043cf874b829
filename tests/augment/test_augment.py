import math

import pytest
import torch

from dgdd_cli.augment import OPERATIONS, Draw, draw, for_dataset, parse
from dgdd_cli.errors import UnknownName


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES = torch.rand(5, 3, 12, 12, generator=seeded(9))


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
@pytest.mark.parametrize("rows", [1, 5])
def test_every_operation_keeps_shape_and_is_differentiable(operation, rows):
    images = IMAGES.clone().requires_grad_()
    augmented = Draw(operation, torch.rand(rows, 3, generator=seeded(1)))(images)
    assert augmented.shape == images.shape
    assert augmented.dtype == images.dtype
    (gradient,) = torch.autograd.grad(augmented.sum(), images)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_siamese_is_the_same_numbers_for_every_image(operation):
    one = torch.rand(1, 3, generator=seeded(2))
    together = Draw(operation, one)(IMAGES)
    each = Draw(operation, one.expand(5, 3))(IMAGES)
    torch.testing.assert_close(together, each)
    torch.testing.assert_close(together[2:3], Draw(operation, one)(IMAGES[2:3]))


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"identity"}))
def test_every_operation_does_something(operation):
    assert not torch.equal(Draw(operation, torch.tensor([[0.1, 0.2, 0.3]]))(IMAGES), IMAGES)


def test_neutral_numbers_change_nothing():
    half = torch.full((1, 3), 0.5)
    torch.testing.assert_close(Draw("color", half)(IMAGES), IMAGES)
    torch.testing.assert_close(Draw("crop", half)(IMAGES), IMAGES)
    torch.testing.assert_close(Draw("rotate", half)(IMAGES), IMAGES)
    assert torch.equal(Draw("flip", half)(IMAGES), IMAGES)


def test_cutout_clears_a_square_of_half_the_side():
    holes = Draw("cutout", torch.tensor([[0.5, 0.5, 0.0]]))(torch.ones(1, 3, 12, 12))
    assert int((holes[0, 0] == 0).sum()) == 36


def test_draws_come_from_the_generator_and_cover_the_strategy():
    strategy = "color_crop_scale"
    seen = {draw(strategy, seeded(s)).operation for s in range(60)}
    assert seen == {"color", "crop", "scale"}
    first, again = draw(strategy, seeded(3), rows=4), draw(strategy, seeded(3), rows=4)
    assert first.operation == again.operation
    assert torch.equal(first.uniforms, again.uniforms)


def test_none_is_the_identity():
    assert torch.equal(draw("none", seeded())(IMAGES), IMAGES)


def test_digits_are_never_mirrored():
    assert "flip" not in for_dataset("auto", "digits")
    assert "flip" in for_dataset("auto", "pacs")
    assert for_dataset("flip", "digits") == "flip"


def test_an_unknown_operation_names_the_near_one():
    with pytest.raises(UnknownName) as caught:
        parse("color_crp")
    assert "crop" in caught.value.hint


def strongest(operation: str, *numbers: float) -> torch.Tensor:
    return Draw(operation, torch.tensor([[*numbers, 0.5, 0.5][:3]]))(IMAGES)


def test_brightness_adds_up_to_a_half():
    torch.testing.assert_close(strongest("color", 1.0), IMAGES + 0.5)


def test_saturation_scales_colours_about_their_grey_up_to_twice():
    grey = IMAGES.mean(1, keepdim=True)
    torch.testing.assert_close(strongest("color", 0.5, 0.0), grey.expand_as(IMAGES))
    torch.testing.assert_close(strongest("color", 0.5, 1.0), 2 * IMAGES - grey)


def test_contrast_scales_about_the_image_mean_from_half_to_one_and_a_half():
    mean = IMAGES.mean((1, 2, 3), keepdim=True)
    for number, factor in ((0.0, 0.5), (1.0, 1.5)):
        torch.testing.assert_close(strongest("color", 0.5, 0.5, number), (IMAGES - mean) * factor + mean)


def test_crop_shifts_by_an_eighth_of_the_side_at_most():
    images = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16) + 1
    shifted = Draw("crop", torch.tensor([[0.0, 0.999, 0.0]]))(images)
    assert not shifted[..., :2, :].any()  # two rows of padding above
    assert not shifted[..., :, -2:].any()
    assert torch.equal(shifted[..., 2:, :-2], images[..., :-2, 2:])


def test_rotation_and_scale_have_the_published_extent():
    points = torch.zeros(1, 3, 101, 101)
    points[..., 50, 80] = 1
    turned = Draw("rotate", torch.tensor([[1.0, 0.0, 0.0]]))(points)[0, 0]
    y, x = divmod(int(turned.argmax()), 101)
    assert abs(math.degrees(math.atan2(y - 50, x - 50))) == pytest.approx(15, abs=1)
    for number, factor in ((0.0, 1.2), (1.0, 1 / 1.2)):
        scaled = Draw("scale", torch.tensor([[number, number, 0.0]]))(points)[0, 0]
        assert int(scaled.argmax()) % 101 - 50 == pytest.approx(30 * factor, abs=1)
