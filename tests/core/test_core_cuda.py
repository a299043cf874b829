"""The Triton kernels on a CUDA device against the reference on the same device."""

from __future__ import annotations

from collections.abc import Iterator

import core_cases
import pytest
import torch

from dgdd_cli.core import POOLS, spectral_surgery, status

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(status().kernels != "triton", reason=f"the kernels cannot run here: {status().reason}"),
]


@pytest.fixture
def poisoned() -> Iterator[None]:
    core_cases.poison_uninitialised()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", core_cases.CHECKS)
def test_kernels_agree_with_the_reference(name: str) -> None:
    core_cases.CHECKS[name]("cuda")


@pytest.mark.parametrize("pool", POOLS)
def test_cuda_agrees_with_the_cpu_at_the_usual_size(pool: str) -> None:
    inputs = core_cases.surgery_inputs((3, 100, 3, 32, 17), "cpu")
    *tensors, count = inputs
    here = spectral_surgery(*tensors, num_classes=count, pool=pool)
    there = spectral_surgery(*(tensor.cuda() for tensor in tensors), num_classes=count, pool=pool)
    for ours, theirs in zip(here, there, strict=True):
        torch.testing.assert_close(ours, theirs.cpu(), rtol=1e-4, atol=1e-5)
