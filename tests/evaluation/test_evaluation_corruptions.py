"""Shifted copies of test images against SciPy, NumPy and their own statistics."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from dgdd_cli.errors import UnknownName
from dgdd_cli.evaluation.corruptions import CORRUPTIONS, blur, check_corruptions, invert, noise
from dgdd_cli.evaluation.targets import Target, corrupted, targets_of
from dgdd_cli.networks.footprint import peak_bytes


def pictures(count: int = 6, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


@pytest.mark.parametrize("size", [8, 16, 32, 48])
def test_blur_is_a_gaussian_of_two_pixels_at_32(size):
    images = pictures(size=size)
    sigma = 2 * size / 32
    expected = scipy.ndimage.gaussian_filter(
        images.double().numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=int(4 * sigma + 0.5) / sigma
    )
    assert np.abs(blur(images, generator()).double().numpy() - expected).max() <= 0.51  # half a level of rounding


def test_blur_keeps_flat_images():
    flat = torch.full((2, 3, 16, 16), 77, dtype=torch.uint8)
    assert torch.equal(blur(flat, generator()), flat)


def test_noise_has_the_stated_variance_and_is_clipped():
    grey = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    shifts = (noise(grey, generator()).double() - 128) / 255
    assert float(shifts.mean()) == pytest.approx(0, abs=1e-3)
    assert float(shifts.var()) == pytest.approx(0.005, rel=0.02)
    black = noise(torch.zeros(40, 3, 32, 32, dtype=torch.uint8), generator())
    assert float((black == 0).double().mean()) == pytest.approx(0.51, abs=0.02)  # half is below, plus rounding


def test_invert_twice_is_nothing():
    images = pictures()
    assert torch.equal(invert(invert(images, generator()), generator()), images)
    assert int(invert(images, generator())[0, 0, 0, 0]) == 255 - int(images[0, 0, 0, 0])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_keep_form_and_input(name):
    images = pictures(3)
    before = images.clone()
    found = CORRUPTIONS[name](images, generator())
    assert (found.dtype, found.shape) == (torch.uint8, images.shape)
    assert torch.equal(images, before)
    assert not torch.equal(found, images)


def test_a_copy_depends_on_the_seed_and_its_domain_alone(shapes):
    sets = shapes()

    def targets(names, seed):
        return targets_of(
            names,
            lambda domains: sets.only(domains),
            corruptions=["noise", "invert"],
            seed=seed,
            allow_missing_classes=False,
        )

    both, alone, other = targets(["amber", "cyan"], 0), targets(["cyan"], 0), targets(["cyan"], 1)
    assert [(t.name, t.corruption) for t in both] == [
        (name, corruption) for name in ("amber", "cyan") for corruption in (None, "noise", "invert")
    ]
    for a, b in zip(both[3:], alone, strict=True):
        assert torch.equal(a.dataset.images, b.dataset.images)
        assert a.fingerprint == b.fingerprint == sets.domain_fingerprints()["cyan"]
    assert not torch.equal(alone[1].dataset.images, other[1].dataset.images)
    assert torch.equal(alone[1].dataset.labels, alone[0].dataset.labels)
    assert len({t.key for t in both}) == 6


def test_a_name_cannot_pass_for_a_copy(shapes):
    one = Target("cyan (noise)", shapes(), "f")
    assert one.key != corrupted(Target("cyan", shapes(), "f"), "noise", 0).key


def test_unknown_corruptions_are_refused():
    with pytest.raises(UnknownName, match="blurr"):
        check_corruptions(["noise", "blurr"])


@pytest.mark.parametrize("change", [noise, blur])
def test_a_shift_takes_memory_for_some_images_only_and_draws_the_same_noise(change, monkeypatch):
    images = pictures(count=100, size=40)
    whole = change(images, generator())
    monkeypatch.setattr("dgdd_cli.evaluation.corruptions._CHUNK_PIXELS", 1)
    assert torch.equal(change(images, generator()), whole)
    large = pictures(count=128, size=128)
    monkeypatch.undo()
    assert peak_bytes(lambda: change(large, generator())) < 12 * large.nbytes  # at once: 16 bytes a level, and the set
