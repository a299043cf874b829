from __future__ import annotations

import core_oracle
import numpy as np
import pytest
import torch
from torch import Tensor

from dgdd_cli.core import POOLS, Surgery, reference, spectral_surgery

CLASSES = torch.tensor([2, 0, 0, 3, 2])
PRESENT_BY_CLASS = torch.tensor(
    [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 1, 0]], dtype=torch.bool
)


def random_spectra(domains: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Domain spectra with a part in common, (D, 5, 3, height, width, 2), and a diversity spectrum, float64."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(5, 3, height, width, 2, generator=generator, dtype=torch.float64)
    own = torch.randn(domains, 5, 3, height, width, 2, generator=generator, dtype=torch.float64)
    diversity = torch.randn(5, 3, height, width, 2, generator=generator, dtype=torch.float64)
    return common + own, diversity


def operate(spectra: Tensor, diversity: Tensor, present: Tensor | None = None, **options: object) -> Surgery:
    present = torch.ones(spectra.shape[:2], dtype=torch.bool) if present is None else present
    settings: dict = {"num_classes": 4, "pool": "bin"} | options
    return spectral_surgery(spectra.float(), diversity.float(), present, CLASSES, **settings)


def complex_numpy(pairs: Tensor) -> np.ndarray:
    return torch.view_as_complex(pairs.double().contiguous()).numpy()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("domains", [2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(7, 5), (4, 3)])
@pytest.mark.parametrize("power", [1.0, 2.0, 0.5])
def test_agrees_with_the_definition_in_float64(pool: str, domains: int, height: int, width: int, power: float) -> None:
    spectra, diversity = random_spectra(domains, height, width)
    present = PRESENT_BY_CLASS[:domains][:, CLASSES]
    expected = core_oracle.spectral_surgery(
        complex_numpy(spectra), complex_numpy(diversity), present.numpy(), CLASSES.numpy(), pool, power
    )
    exact = reference.spectral_surgery(spectra, diversity, present, CLASSES, 4, pool, power, 1e-36)
    ours = operate(spectra, diversity, present, pool=pool, power=power)
    # float64 must repeat the oracle; float32 may round an agreement near zero, which a power below 1 magnifies
    for result, tolerance in ((exact, 1e-12), (ours, 1e-5 if power >= 1 else 1e-3)):
        np.testing.assert_allclose(complex_numpy(result[0]), expected[0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(complex_numpy(result[1]), expected[1], rtol=tolerance, atol=tolerance)
        pooled = result[2].expand(5, 3, height, width).double().numpy()
        np.testing.assert_allclose(pooled, expected[2], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("pool", "channels"), [("bin", 3), ("image", 1), ("class", 1)])
def test_shapes(pool: str, channels: int) -> None:
    surgery = operate(*random_spectra(2, 7, 5), pool=pool)
    assert surgery.shared.shape == surgery.diversity.shape == (5, 3, 7, 5, 2)
    assert surgery.agreement.shape == (5, channels, 7, 5)


@pytest.mark.parametrize("pool", POOLS)
def test_equal_sources_agree_wholly_and_leave_nothing_to_diversity(pool: str) -> None:
    spectra, diversity = random_spectra(1, 7, 5)
    surgery = operate(spectra.expand(3, -1, -1, -1, -1, -1), diversity, pool=pool)
    torch.testing.assert_close(surgery.shared, spectra[0].float())
    torch.testing.assert_close(surgery.agreement, torch.ones_like(surgery.agreement))
    assert surgery.diversity.abs().max() < 1e-5


@pytest.mark.parametrize("pool", POOLS)
def test_opposed_sources_share_nothing(pool: str) -> None:
    spectra, diversity = random_spectra(1, 7, 5)
    surgery = operate(torch.cat([spectra, -spectra]), diversity, pool=pool)
    assert surgery.agreement.eq(0).all()
    assert surgery.shared.eq(0).all()
    torch.testing.assert_close(surgery.diversity, diversity.float())


def test_pooling_measures_agreement_over_more_evidence() -> None:
    generator = torch.Generator().manual_seed(3)
    unrelated = torch.randn(4, 200, 3, 4, 3, 2, generator=generator)
    present = torch.ones(4, 200, dtype=torch.bool)
    spread = {
        pool: spectral_surgery(
            unrelated, unrelated[0], present, torch.zeros(200, dtype=torch.int64), num_classes=1, pool=pool
        ).agreement.mean()
        for pool in POOLS
    }
    assert spread["bin"] > spread["image"] > spread["class"]
    assert spread["class"] < 0.02


@pytest.mark.parametrize("pool", POOLS)
def test_absent_spectra_are_never_read(pool: str) -> None:
    spectra, diversity = random_spectra(3, 7, 5)
    present = PRESENT_BY_CLASS[:3][:, CLASSES]
    clean = operate(spectra, diversity, present, pool=pool)
    for rubbish in (torch.nan, torch.inf, 1e30):
        spoiled = torch.where(present.view(3, 5, 1, 1, 1, 1), spectra, rubbish)
        for one, other in zip(clean, operate(spoiled, diversity, present, pool=pool), strict=True):
            assert torch.equal(one, other)
            assert one.isfinite().all()


@pytest.mark.parametrize("pool", POOLS)
def test_one_source_agrees_with_itself_and_none_with_nobody(pool: str) -> None:
    spectra, diversity = random_spectra(2, 7, 5)
    present = torch.zeros(2, 5, dtype=torch.bool)
    present[1] = CLASSES == 2
    surgery = operate(spectra, diversity, present, pool=pool)
    alone = CLASSES == 2
    torch.testing.assert_close(surgery.shared[alone], spectra[1].float()[alone])
    assert surgery.diversity[alone].eq(0).all()
    assert surgery.shared[~alone].eq(0).all()
    torch.testing.assert_close(surgery.diversity[~alone], diversity.float()[~alone])
    assert surgery.agreement[alone].eq(1).all()
    assert surgery.agreement[~alone].eq(0).all()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("scale", [1e-8, 1e-6, 1e-3, 1e3, 1e8])
def test_scale_invariance(pool: str, scale: float) -> None:
    spectra, diversity = random_spectra(3, 7, 5)
    plain = operate(spectra, diversity, pool=pool)
    scaled = operate(spectra * scale, diversity * scale, pool=pool)
    torch.testing.assert_close(scaled.agreement, plain.agreement, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scaled.shared / scale, plain.shared, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scaled.diversity / scale, plain.diversity, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
def test_silence_is_no_agreement(pool: str) -> None:
    spectra, diversity = random_spectra(3, 7, 5)
    surgery = operate(torch.zeros_like(spectra), diversity, pool=pool)
    assert surgery.agreement.eq(0).all()
    assert surgery.shared.eq(0).all()
    torch.testing.assert_close(surgery.diversity, diversity.float())


@pytest.mark.parametrize("pool", POOLS)
def test_order_of_domains_and_of_images_does_not_matter(pool: str) -> None:
    spectra, diversity = random_spectra(3, 7, 5)
    present = PRESENT_BY_CLASS[:3][:, CLASSES]
    plain = operate(spectra, diversity, present, pool=pool)
    turned = operate(spectra.flip(0), diversity, present.flip(0), pool=pool)
    order = torch.tensor([3, 1, 4, 0, 2])
    moved = spectral_surgery(
        spectra[:, order].float(), diversity[order].float(), present[:, order], CLASSES[order], num_classes=4, pool=pool
    )
    for one, two, three in zip(plain, turned, moved, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one[order], three, rtol=1e-4, atol=1e-5)


def test_arguments_are_left_as_they_were_and_results_carry_no_gradient() -> None:
    spectra, diversity = (tensor.float().requires_grad_() for tensor in random_spectra(3, 7, 5))
    before = spectra.detach().clone(), diversity.detach().clone()
    surgery = operate(spectra, diversity)
    assert not any(tensor.requires_grad for tensor in surgery)
    assert torch.equal(spectra.detach(), before[0])
    assert torch.equal(diversity.detach(), before[1])


def test_a_present_nan_shows_in_the_result() -> None:
    spectra, diversity = random_spectra(2, 7, 5)
    spectra[0, 1, 0, 2, 2] = torch.nan
    surgery = operate(spectra, diversity, pool="image")
    assert surgery.agreement[1, 0, 2, 2].isnan()
    assert surgery.shared.isnan().any(dim=(1, 2, 3, 4)).tolist() == [False, True, False, False, False]
