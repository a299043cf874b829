"""In what precision convolutions and matrix products of float32 numbers are computed: what a run says, and no other.

| precision | convolutions | everything else |
|---|---|---|
| `float32` | float32 | float32 |
| `tf32` | factors rounded to 10 bits of mantissa, sums in float32 (PyTorch's own default on CUDA) | float32 |
| `bfloat16` | in networks bfloat16 | float32 |

Matrix products stay float32 in all three: they average and compare features, and make the grids of augmentation, which
in TF32 would be off by a tenth of a pixel at 224.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from dgdd_cli.errors import UsageError


def check_precision(precision: str, device: torch.device, *, setting: str) -> None:
    """Raise UsageError for `tf32` on a device that has none; `setting` is the name under which it was asked for."""
    if precision == "tf32" and not has_tf32(device):
        where = "this CUDA device" if device.type == "cuda" else f"the device {device.type!r}"
        raise UsageError(
            f"{where} has no TF32, in which {setting} asks to compute: NVIDIA has it since Ampere",
            hint=f"--set {setting}=float32, or --set {setting}=bfloat16",
        )


def has_tf32(device: torch.device) -> bool:
    """Whether a device has instructions for TF32."""
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return torch.cuda.is_tf32_supported()


@contextmanager
def computing_in(precision: str, device: torch.device, *, setting: str = "precision") -> Iterator[None]:
    """Compute in `float32`, `tf32` or `bfloat16` within, as the table above says, and afterwards as before.

    PyTorch's switches are the whole process's: two threads cannot compute in two precisions. An autocast around it does
    not reach in. bfloat16 itself is the networks' own: their weights have it, or an autocast within. Raises as
    `check_precision` does.
    """
    check_precision(precision, device, setting=setting)
    convolution = "tf32" if precision == "tf32" else "ieee"
    backends: Any = torch.backends
    wanted: list[tuple[Any, str]] = [  # from the general switch to the particular, which may have a value of its own
        (backends.cudnn, convolution),
        (backends.cudnn.conv, convolution),
        (backends.cuda.matmul, "ieee"),
        (backends.mkldnn.conv, "ieee"),
        (backends.mkldnn.matmul, "ieee"),
    ]
    before = [place.fp32_precision for place, _ in wanted]
    changed: list[tuple[Any, str]] = []
    try:
        for (place, value), own in zip(wanted, before, strict=True):
            if place.fp32_precision != value:
                changed.append((place, own))
                place.fp32_precision = value
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for place, own in changed:
            place.fp32_precision = "none"  # it may have had no value but that of a more general switch
            if place.fp32_precision != own:
                place.fp32_precision = own
