"""The yardstick is not slowed down: a class's batch is augmented in one operation, and to the same pixels."""

from __future__ import annotations

import pytest
import torch
from plain_loop import at_once, plain_inputs, plain_steps

from dgdd_cli.augment import OPERATIONS, Draw


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_batch_augmented_at_once_is_that_of_each_image_by_itself(operation):
    draw = torch.Generator().manual_seed(0)
    augmentation, images = Draw(operation, torch.rand(1, 3, generator=draw)), torch.rand(5, 3, 8, 8, generator=draw)
    each = torch.cat([augmentation(image) for image in images.split(1)])
    torch.testing.assert_close(at_once(augmentation, images), each)


@pytest.mark.parametrize("strategy", ["scale", "rotate"])
def test_a_step_resamples_once_for_real_and_once_for_synthetic_images_of_a_class(shapes, dispatched, strategy):
    images, rows, synthetic, _ = plain_inputs(shapes(), 2, torch.device("cpu"))
    with dispatched() as seen:
        plain_steps(images, rows, synthetic, strategy, 2)
    assert seen.calls["grid_sampler_2d"] == 2 * 2 * 3
