"""On a CUDA device: convolutions round as the precision says, in steps that are replayed too."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from dgdd_cli.config import resolve
from dgdd_cli.engine.distill import distill
from dgdd_cli.methods import feature_matching
from dgdd_cli.methods.complete import complete
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import given
from dgdd_cli.runtime.precision import computing_in

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_on_cuda_convolutions_round_as_the_precision_says(precision):
    """Errors in units of Σ|x||w|, so that cancellation does not count.

    float32: 2^-24 for each rounding, a few of them random in a sum of 576 products, more where the library transforms
    the tiles (Winograd): 2^-18 leaves a factor of 64. TF32: two factors that each lose at most 2^-10 (truncated) make
    2^-9; of 576 independent ones about 2^-16 remain, and the largest of the outputs is well above 2^-18.
    """
    cuda, generator = torch.device("cuda"), torch.Generator().manual_seed(0)
    images = torch.randn(8, 64, 32, 32, generator=generator).to(cuda).requires_grad_()
    weights = torch.randn(64, 64, 3, 3, generator=generator).to(cuda)
    upstream = torch.randn(8, 64, 32, 32, generator=generator).to(cuda)
    matrix = torch.randn(512, 576, generator=generator).to(cuda)
    with computing_in(precision, cuda):
        forward = F.conv2d(images, weights, padding=1)
        (backward,) = torch.autograd.grad(forward, images, upstream)
        product = matrix @ matrix.T

    def oracle(x: torch.Tensor, w: torch.Tensor, g: torch.Tensor) -> list[torch.Tensor]:
        x = x.detach().double().requires_grad_()
        found = F.conv2d(x, w.double(), padding=1)
        return [found.detach(), torch.autograd.grad(found, x, g.double())[0]]

    exact, scale = oracle(images, weights, upstream), oracle(images.abs(), weights.abs(), upstream.abs())
    for found, value, unit in zip((forward, backward), exact, scale, strict=True):
        error = ((found - value).abs() / unit).max().item()
        if precision == "float32":
            assert error < 2**-18
        else:
            assert 2**-18 < error < 2**-9
    unit = matrix.double().abs() @ matrix.double().abs().T
    assert ((product - matrix.double() @ matrix.double().T).abs() / unit).max().item() < 2**-18  # in both


def test_on_cuda_graphs_are_captured_in_the_precision_of_the_run(shapes, monkeypatch):
    seen = []
    real = feature_matching.cuda_graphs

    def watching(device):
        capture = real(device)

        def watch(work):
            seen.append(torch.backends.cudnn.conv.fp32_precision)
            return capture(work)

        return watch

    monkeypatch.setattr(feature_matching, "cuda_graphs", watching)
    for precision in ("float32", "tf32"):
        settings = ["optimiser.steps=3", f"probes.precision={precision}", "probes.source=bank:3"]
        recipe = complete(resolve({"dataset": "shapes", "method": "sgs"}, assignments=settings).recipe, "shapes")
        seen.clear()
        distill(Context(seed=0, chosen=given(torch.device("cuda"))), shapes(), recipe, ipc=1)
        assert seen
        assert set(seen) == {"tf32" if precision == "tf32" else "ieee"}
