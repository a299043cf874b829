"""The Triton kernels against the reference on one device; as a script: on the CPU, interpreted.

The interpreter has to be chosen before Triton is imported, so the script runs in its own process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dgdd_cli.core import POOLS, grouped_cvar, ops, spectral_surgery

# (domains, images, channels, height, half width): odd sizes; 40 channels exceed what one program pools
SIZES = ((2, 3, 3, 7, 5), (3, 5, 3, 33, 17), (5, 4, 1, 7, 5), (2, 3, 40, 3, 3))


def surgery_inputs(size: tuple[int, int, int, int, int], device: str) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Spectra with a common part, absent domains full of NaN, classes out of order and one class without images."""
    domains, number, *rest = size
    generator = torch.Generator().manual_seed(sum(size))
    common = torch.randn(number, *rest, 2, generator=generator)
    spectra = common + torch.randn(domains, number, *rest, 2, generator=generator)
    diversity = torch.randn(number, *rest, 2, generator=generator)
    classes = (torch.arange(number) * 2) % 4
    by_class = torch.ones(domains, 4, dtype=torch.bool)
    by_class[0, 2] = False
    present = by_class[:, classes]
    spectra[~present] = torch.nan
    spectra[:, 0, :, 0, 0] = 0.0  # no power at all: no agreement
    moved = (tensor.to(device) for tensor in (spectra, diversity, present, classes))
    return (*moved, 4)  # type: ignore[return-value]


def poison_uninitialised() -> None:
    """From here on torch.empty holds NaN, so that an element no kernel wrote is seen."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    assert torch.empty(3).isnan().all()


def check_surgery(device: str, pool: str, power: float) -> None:
    for size in SIZES if power == 1 else SIZES[:1]:
        spectra, diversity, present, classes, count = surgery_inputs(size, device)
        results = [
            spectral_surgery(
                spectra, diversity, present, classes, num_classes=count, pool=pool, power=power, kernels=kernels
            )
            for kernels in ("triton", "torch")
        ]
        for fused, plain in zip(*results, strict=True):
            torch.testing.assert_close(fused, plain, rtol=1e-4, atol=2e-4 if power < 1 else 1e-5)


def check_surgery_strided(device: str) -> None:
    """A spectrum as a view of something larger, and no image at all."""
    spectra, diversity, present, classes, count = surgery_inputs(SIZES[0], device)
    plain = spectral_surgery(spectra, diversity, present, classes, num_classes=count, pool="class", kernels="torch")
    strided = spectra.transpose(0, 1).contiguous().transpose(0, 1)
    fused = spectral_surgery(
        strided, diversity, present.t().contiguous().t(), classes, num_classes=count, pool="class", kernels="triton"
    )
    torch.testing.assert_close(fused, plain)
    none = spectral_surgery(
        spectra[:, :0], diversity[:0], present[:, :0], classes[:0], num_classes=count, pool="class", kernels="triton"
    )
    assert none.shared.shape == (0, *diversity.shape[1:])


def risk_inputs(device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Groups of very unequal size (one above a block, one of 1, one empty), ties, zero weights, NaN outside groups."""
    generator = torch.Generator().manual_seed(7)
    losses = torch.randn(1500, generator=generator).round(decimals=1)
    groups = torch.randint(-1, 4, (1500,), generator=generator)
    groups[:1100] = 0
    groups[groups == 2] = 5
    groups[-1] = 4
    losses[groups == -1] = torch.nan
    weights = torch.rand(1500, generator=generator)
    weights[::7] = 0.0
    return losses.to(device), groups.to(device), weights.to(device)


def check_risk(device: str, weighted: bool) -> None:
    losses, groups, weights = risk_inputs(device)
    for tail in (1.0, 0.3, 0.1, 1e-6):
        results = []
        for kernels in ("triton", "torch"):
            leaf = losses.clone().requires_grad_()
            risk = grouped_cvar(
                leaf, groups, num_groups=7, tail=tail, weights=weights if weighted else None, kernels=kernels
            )
            (risk.values * torch.arange(1.0, 8.0, device=device)).sum().backward()
            assert not risk.gradient.requires_grad
            results.append((risk.values.detach(), risk.gradient, risk.masses, leaf.grad))
        for fused, plain in zip(*results, strict=True):
            torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)


def check_operators(device: str) -> None:
    """Shapes, aliasing, fake tensors and autograd of the registered operators with the Triton kernels behind them."""
    for pool in POOLS:
        inputs = surgery_inputs(SIZES[0], device)
        inputs[0].nan_to_num_(0.0)
        torch.library.opcheck(ops.spectral_surgery, (*inputs, pool, 1.0, 1e-36))
    losses, groups, weights = risk_inputs(device)
    leaf = losses.nan_to_num(0.0)[-40:].requires_grad_()
    for given in (None, weights[-40:]):
        torch.library.opcheck(ops.grouped_cvar, (leaf, groups[-40:], given, 7, 0.3))


CHECKS: dict[str, Callable[[str], None]] = {
    **{
        f"surgery {pool} power {power:g}": partial(check_surgery, pool=pool, power=power)
        for pool in POOLS
        for power in (1.0, 0.5, 0.0)
    },
    "surgery strided": check_surgery_strided,
    "risk": partial(check_risk, weighted=False),
    "risk weighted": partial(check_risk, weighted=True),
    "operators": check_operators,
}


def main() -> None:
    """Prints the name of each check that held; the first that does not ends the script with its traceback."""
    poison_uninitialised()
    for name, check in CHECKS.items():
        check("cpu")
        print(name, flush=True)


if __name__ == "__main__":
    main()
