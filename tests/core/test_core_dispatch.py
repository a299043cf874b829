from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dgdd_cli.core import cvar, grouped_cvar, ops, reference, spectral_surgery, status
from dgdd_cli.core import status as status_function
from dgdd_cli.errors import UnknownName, UsageError

ROOT = Path(__file__).parents[2]
status_module = sys.modules[status_function.__module__]


def surgery(**changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "domain_spectra": torch.randn(2, 4, 3, 7, 5, 2),
        "diversity_spectrum": torch.randn(4, 3, 7, 5, 2),
        "present": torch.ones(2, 4, dtype=torch.bool),
        "classes": torch.tensor([0, 1, 2, 0]),
        "num_classes": 3,
        "pool": "bin",
    }
    return spectral_surgery(**arguments | changes)


def risk(**changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "losses": torch.randn(4),
        "groups": torch.tensor([0, 1, -1, 0]),
        "num_groups": 2,
        "tail": 0.5,
    }
    return grouped_cvar(**arguments | changes)


@pytest.mark.parametrize(
    ("call", "changes", "words"),
    [
        (surgery, {"domain_spectra": torch.randn(2, 4, 3, 7, 5, 2).double()}, "domain_spectra must be torch.float32"),
        (surgery, {"domain_spectra": torch.randn(2, 4, 3, 7, 5, dtype=torch.complex64)}, "not torch.complex64"),
        (surgery, {"domain_spectra": torch.randn(2, 4, 3, 7, 5)}, r"\(D, N, C, H, W, 2\)"),
        (surgery, {"domain_spectra": torch.randn(2, 4, 3, 7, 5, 3)}, "domain_spectra must be"),
        (surgery, {"domain_spectra": torch.randn(0, 4, 3, 7, 5, 2)}, "D >= 1"),
        (surgery, {"domain_spectra": torch.randn(2, 4, 3, 0, 5, 2)}, "at least one channel and one bin"),
        (surgery, {"diversity_spectrum": torch.randn(4, 3, 7, 4, 2)}, "diversity_spectrum must be"),
        (surgery, {"present": torch.ones(2, 4)}, "present must be torch.bool"),
        (surgery, {"present": torch.ones(4, 2, dtype=torch.bool)}, r"present must be \(2, 4\)"),
        (surgery, {"classes": torch.tensor([0, 1, 2])}, r"classes must be \(4,\)"),
        (surgery, {"classes": torch.tensor([0, 1, 3, 0])}, r"in \[0, 3\), but they go from 0 to 3"),
        (surgery, {"classes": torch.tensor([0, -1, 2, 0])}, "go from -1 to 2"),
        (surgery, {"classes": torch.tensor([0, 1, 2, 0]).to("meta")}, "classes is on meta"),
        (surgery, {"num_classes": 0}, "num_classes must be at least 1"),
        (surgery, {"power": -1.0}, "power must be"),
        (surgery, {"power": float("nan")}, "power must be"),
        (surgery, {"eps": 0.0}, "eps must be"),
        (risk, {"losses": torch.randn(4).half()}, "losses must be float32 or float64"),
        (risk, {"losses": torch.randn(2, 2)}, r"losses must be \(n,\)"),
        (risk, {"groups": torch.zeros(4)}, "groups must be torch.int64"),
        (risk, {"groups": torch.zeros(3, dtype=torch.int64)}, r"groups must be \(4,\)"),
        (risk, {"groups": torch.tensor([0, 1, 2, 0])}, r"in \[-1, 2\)"),
        (risk, {"groups": torch.tensor([0, 1, -2, 0])}, "from -2 to 1"),
        (risk, {"num_groups": 0}, "num_groups must be at least 1"),
        (risk, {"weights": torch.ones(3)}, r"weights must be \(4,\)"),
        (risk, {"weights": torch.ones(4).double()}, "weights must be torch.float32"),
        (risk, {"weights": torch.tensor([1.0, -1.0, 0.0, 0.0])}, "not negative"),
        (risk, {"weights": torch.tensor([1.0, torch.nan, 0.0, 0.0])}, "finite"),
        (risk, {"weights": torch.ones(4, requires_grad=True)}, "must not require a gradient"),
    ],
)
def test_wrong_tensors_and_numbers(call: Callable[..., Any], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(**changes)


@pytest.mark.parametrize("tail", [0.0, -0.1, 1.0001, float("nan"), float("inf"), None])
def test_tail_outside_its_range(tail: Any) -> None:
    with pytest.raises(UsageError, match=r"must be in \(0, 1\]"):
        risk(tail=tail)
    with pytest.raises(UsageError, match=r"must be in \(0, 1\]"):
        cvar(torch.ones(3), tail)


def test_misspelt_names_are_answered_with_the_near_one() -> None:
    with pytest.raises(UnknownName, match="unknown pool 'clas'") as pool:
        surgery(pool="clas")
    assert pool.value.hint is not None
    assert "'class'" in pool.value.hint
    with pytest.raises(UnknownName, match="unknown kernels 'tritn'") as kernels:
        risk(kernels="tritn")
    assert kernels.value.hint is not None
    assert "'triton'" in kernels.value.hint


@pytest.mark.parametrize("call", [surgery, risk])
def test_triton_on_cpu_tensors_is_refused_with_the_reason(call: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="cannot run: the tensors are on cpu") as refused:
        call(kernels="triton")
    assert refused.value.exit_code == 2
    assert refused.value.hint is not None


def test_triton_does_not_take_float64() -> None:
    with pytest.raises(UsageError, match=r"float32, not torch\.float64"):
        risk(losses=torch.randn(4).double(), kernels="triton")


def test_auto_and_torch_are_the_reference_on_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    losses, groups = torch.randn(9, generator=generator), torch.arange(9) % 3
    expected = reference.grouped_cvar(losses, groups, None, 3, 0.4)
    for kernels in ("auto", "torch"):
        for one, other in zip(
            grouped_cvar(losses, groups, num_groups=3, tail=0.4, kernels=kernels), expected, strict=True
        ):
            assert torch.equal(one, other)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Pretends to be a machine with these properties."""

    def pretend(*, cuda: bool, built: str | None, capability: tuple[int, int], triton: bool) -> None:
        status_module._cuda_status.cache_clear()
        monkeypatch.setattr(torch.version, "cuda", built)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=None: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=None: "Some GPU")
        monkeypatch.setattr(status_module, "find_spec", lambda name: object() if triton else None)

    yield pretend
    status_module._cuda_status.cache_clear()


@pytest.mark.parametrize(
    ("cuda", "built", "capability", "triton", "kernels", "words"),
    [
        (False, None, (9, 0), True, "torch", "built without CUDA"),
        (False, "13.2", (9, 0), True, "torch", "no CUDA device"),
        (True, "13.2", (7, 5), True, "torch", "compute capability 7.5: the Triton kernels need 8.0"),
        (True, "13.2", (8, 0), False, "torch", "Triton is not installed"),
        (True, "13.2", (8, 0), True, "triton", "Some GPU, compute capability 8.0"),
        (True, "13.2", (10, 3), True, "triton", "compute capability 10.3"),
    ],
)
def test_status_names_the_first_obstacle(
    machine: Callable[..., None],
    cuda: bool,
    built: str | None,
    capability: tuple[int, int],
    triton: bool,
    kernels: str,
    words: str,
) -> None:
    machine(cuda=cuda, built=built, capability=capability, triton=triton)
    found = status()
    assert found.kernels == kernels
    assert words in found.reason


def test_tensors_elsewhere_use_torch_even_beside_a_gpu(machine: Callable[..., None]) -> None:
    machine(cuda=True, built="13.2", capability=(9, 0), triton=True)
    assert status("cpu") == ("torch", "the tensors are on cpu; Triton kernels run on CUDA devices")
    assert status("cuda:0").kernels == "triton"


def test_core_works_and_stays_quiet_where_triton_is_missing() -> None:
    script = """
import sys
if sys.argv[1] == "missing":
    sys.modules["triton"] = None
import torch
from dgdd_cli import core
spectra = torch.randn(2, 4, 3, 7, 5, 2)
present = torch.ones(2, 4, dtype=torch.bool)
core.spectral_surgery(spectra, spectra[0], present, torch.arange(4), num_classes=4, pool="bin")
core.cvar(torch.randn(5), 0.5)
core.status()
assert sys.modules.get("triton") is None, "triton was imported"
"""
    for case in ("missing", "installed"):
        done = subprocess.run([sys.executable, "-c", script, case], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr


def test_operators_pass_opcheck_with_the_reference_body() -> None:
    spectra, present = torch.randn(2, 4, 3, 7, 5, 2), torch.ones(2, 4, dtype=torch.bool)
    for pool in ("bin", "class"):
        torch.library.opcheck(
            ops.spectral_surgery, (spectra, spectra[0].clone(), present, torch.arange(4), 4, pool, 1.0, 1e-36)
        )
    losses, groups = torch.randn(6, requires_grad=True), torch.tensor([0, 1, -1, 0, 0, 3])
    for weights in (None, torch.rand(6)):
        torch.library.opcheck(ops.grouped_cvar, (losses, groups, weights, 4, 0.4))


def test_operator_has_the_gradient_of_the_reference() -> None:
    losses = torch.randn(12, generator=torch.Generator().manual_seed(4)).requires_grad_()
    groups = torch.arange(12) % 4 - 1
    of_values = torch.tensor([1.0, -2.0, 3.0])
    gradients = []
    for compute in (ops.grouped_cvar, reference.grouped_cvar):
        values = compute(losses, groups, None, 3, 0.4)[0]
        gradients.append(torch.autograd.grad((values * of_values).sum(), losses)[0])
    torch.testing.assert_close(*gradients)
