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
