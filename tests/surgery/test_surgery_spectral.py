import numpy as np
import pytest
import torch

from dgdd_cli.surgery import spectral_update


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def update(by_domain, dedicated, present=None, labels=None, **settings):
    d, n = by_domain.shape[:2]
    present = torch.ones(d, n, dtype=torch.bool) if present is None else present
    labels = torch.zeros(n, dtype=torch.int64) if labels is None else labels
    chosen = {"shared": 1.0, "diversity": 1.0, "power": 1.0, "pool": "class"} | settings
    return spectral_update(
        by_domain.mean(0), by_domain, dedicated, present, labels, num_classes=int(labels.max()) + 1, **chosen
    )


def oracle(by_domain, dedicated, shared, diversity, power):
    """The update in float64 NumPy for one class, pooled over it, with full (two-sided) spectra."""
    g = np.asarray(by_domain, dtype=np.float64)
    spectra = np.fft.fft2(g, norm="ortho")
    mean, energy = spectra.mean(0), (np.abs(spectra) ** 2).mean(0)
    coherence = (np.abs(mean) ** 2).sum((0, 1)) / energy.sum((0, 1))
    agreement = np.clip((len(g) * coherence - 1) / (len(g) - 1), 0, 1)
    apart = np.fft.fft2(np.asarray(dedicated, dtype=np.float64), norm="ortho")
    total = shared * agreement**power * mean + diversity * (1 - agreement) * apart
    return g.mean(0) + np.fft.ifft2(total, norm="ortho").real


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 2.0, 2.0), (0.0, 1.0, 1.0), (1.0, 0.0, 3.0)])
def test_the_update_against_an_oracle(size, weights):
    shared, diversity, power = weights
    common = seeded(1, 4, 3, *size, seed=1)
    by_domain, dedicated = common + 0.7 * seeded(3, 4, 3, *size, seed=2), seeded(4, 3, *size, seed=3)
    ours, _ = update(by_domain, dedicated, shared=shared, diversity=diversity, power=power)
    np.testing.assert_allclose(ours, oracle(by_domain, dedicated, shared, diversity, power), rtol=2e-4, atol=2e-5)


def test_identical_domains_are_all_shared():
    one = seeded(1, 2, 3, 8, 8)
    ours, agreement = update(one.expand(3, -1, -1, -1, -1), seeded(2, 3, 8, 8, seed=5))
    torch.testing.assert_close(ours, 2 * one[0], rtol=1e-4, atol=1e-5)
    assert float(agreement) == pytest.approx(1, abs=1e-5)


def test_opposed_domains_leave_diversity_alone():
    one, dedicated = seeded(1, 2, 3, 8, 8), seeded(2, 3, 8, 8, seed=5)
    ours, agreement = update(torch.cat([one, -one]), dedicated)
    torch.testing.assert_close(ours, dedicated, rtol=1e-4, atol=1e-5)
    assert float(agreement) == 0


def test_without_weights_the_gradient_passes_unchanged():
    by_domain = seeded(3, 4, 3, 8, 8)
    ours, _ = update(by_domain, seeded(4, 3, 8, 8), shared=0.0, diversity=0.0)
    torch.testing.assert_close(ours, by_domain.mean(0))


def test_a_domain_without_the_class_takes_no_part():
    by_domain, dedicated = seeded(3, 4, 3, 8, 8), seeded(4, 3, 8, 8, seed=1)
    present = torch.ones(3, 4, dtype=torch.bool)
    present[2] = False
    pooled = by_domain[:2].mean(0)
    labels = torch.zeros(4, dtype=torch.int64)
    settings = {"num_classes": 1, "shared": 1.0, "diversity": 1.0, "power": 1.0, "pool": "class"}
    absent, _ = spectral_update(pooled, by_domain, dedicated, present, labels, **settings)
    without, _ = spectral_update(pooled, by_domain[:2], dedicated, present[:2], labels, **settings)
    torch.testing.assert_close(absent, without)


def test_classes_do_not_mix():
    by_domain, dedicated = seeded(3, 6, 3, 8, 8), seeded(6, 3, 8, 8, seed=1)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    together, _ = update(by_domain, dedicated, labels=labels)
    alone, _ = update(by_domain[:, :3], dedicated[:3])
    torch.testing.assert_close(together[:3], alone)
