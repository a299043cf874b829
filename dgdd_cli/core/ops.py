"""The operators `dgdd::spectral_surgery` and `dgdd::grouped_cvar`: reference by default, Triton on CUDA.

On the CPU the reference is their body, unless Triton interprets its kernels (TRITON_INTERPRET=1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dgdd_cli.core import reference
from dgdd_cli.core.status import interpreting

# Annotations of operators must be real types, which the string annotations of this module are not.
_SURGERY_SCHEMA = (
    "(Tensor domain_spectra, Tensor diversity_spectrum, Tensor present, Tensor classes, "
    "SymInt num_classes, str pool, float power, float eps) -> (Tensor, Tensor, Tensor)"
)
_CVAR_SCHEMA = (
    "(Tensor losses, Tensor groups, Tensor? weights, SymInt num_groups, float tail) -> (Tensor, Tensor, Tensor)"
)

spectral_surgery = torch.library.custom_op(
    "dgdd::spectral_surgery", reference.spectral_surgery, mutates_args=(), schema=_SURGERY_SCHEMA
)
grouped_cvar = torch.library.custom_op(
    "dgdd::grouped_cvar", reference.grouped_cvar, mutates_args=(), schema=_CVAR_SCHEMA
)


def _surgery_triton(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    from dgdd_cli.core.spectral_kernel import launch

    return launch(*arguments)


def _cvar_triton(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    from dgdd_cli.core.cvar_kernel import launch

    return launch(*arguments)


def _surgery_shapes(
    domain_spectra: Tensor,
    diversity_spectrum: Tensor,
    present: Tensor,
    classes: Tensor,
    num_classes: int,
    pool: str,
    power: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    number, channels, height, width, _ = diversity_spectrum.shape
    agreement = (number, channels if pool == "bin" else 1, height, width)
    shape = diversity_spectrum.shape
    return (
        domain_spectra.new_empty(shape),
        diversity_spectrum.new_empty(shape),
        diversity_spectrum.new_empty(agreement),
    )


def _cvar_shapes(
    losses: Tensor, groups: Tensor, weights: Tensor | None, num_groups: int, tail: float
) -> tuple[Tensor, Tensor, Tensor]:
    return losses.new_empty(num_groups), losses.new_empty(losses.shape), losses.new_empty(num_groups)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[1], output[1])


def _cvar_backward(ctx: Any, of_values: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    groups, gradient = ctx.saved_tensors
    # a sample of no group reads group 0, but its weight is zero
    return of_values[groups.clamp(min=0)] * gradient, None, None, None, None


for device in ("cuda", "cpu") if interpreting() else ("cuda",):
    spectral_surgery.register_kernel(device)(_surgery_triton)
    grouped_cvar.register_kernel(device)(_cvar_triton)
spectral_surgery.register_fake(_surgery_shapes)
grouped_cvar.register_fake(_cvar_shapes)
grouped_cvar.register_autograd(_cvar_backward, setup_context=_save_for_backward)
