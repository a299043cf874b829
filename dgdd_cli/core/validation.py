"""What the public functions of the core accept; each message names the argument, what it must be and what it was."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def check_spectra(spectra: Tensor, diversity: Tensor, present: Tensor, classes: Tensor, num_classes: int) -> None:
    _check_tensor("domain_spectra", spectra, torch.float32, "(D, N, C, H, W, 2)", 6)
    if spectra.shape[-1] != 2 or len(spectra) < 1:
        raise ValueError(f"domain_spectra must be (D >= 1, N, C, H, W, 2), not {tuple(spectra.shape)}")
    if min(spectra.shape[2:]) == 0:
        raise ValueError(f"domain_spectra must have at least one channel and one bin, not {tuple(spectra.shape)}")
    _check_tensor("diversity_spectrum", diversity, torch.float32, "(N, C, H, W, 2)", 5)
    if diversity.shape != spectra.shape[1:]:
        raise ValueError(f"diversity_spectrum must be {tuple(spectra.shape[1:])}, not {tuple(diversity.shape)}")
    _check_tensor("present", present, torch.bool, "(D, N)", 2)
    if present.shape != spectra.shape[:2]:
        raise ValueError(f"present must be {tuple(spectra.shape[:2])}, not {tuple(present.shape)}")
    _check_tensor("classes", classes, torch.int64, "(N,)", 1)
    if classes.shape != spectra.shape[1:2]:
        raise ValueError(f"classes must be {tuple(spectra.shape[1:2])}, not {tuple(classes.shape)}")
    _check_device("domain_spectra", spectra, diversity_spectrum=diversity, present=present, classes=classes)
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, not {num_classes}")
    _check_ids("classes", classes, 0, num_classes)


def check_losses(losses: Tensor, groups: Tensor, num_groups: int, weights: Tensor | None) -> None:
    _check_tensor("losses", losses, _floating("losses", losses), "(n,)", 1)
    _check_tensor("groups", groups, torch.int64, "(n,)", 1)
    if groups.shape != losses.shape:
        raise ValueError(f"groups must be {tuple(losses.shape)}, not {tuple(groups.shape)}")
    if num_groups < 1:
        raise ValueError(f"num_groups must be at least 1, not {num_groups}")
    _check_device("losses", losses, groups=groups)
    _check_ids("groups", groups, -1, num_groups)
    if weights is None:
        return
    _check_tensor("weights", weights, losses.dtype, "(n,)", 1)
    if weights.shape != losses.shape:
        raise ValueError(f"weights must be {tuple(losses.shape)}, not {tuple(weights.shape)}")
    _check_device("losses", losses, weights=weights)
    if weights.requires_grad:
        raise ValueError("weights must not require a gradient: CVaR is differentiated in the losses alone")
    if _readable(weights) and not bool(((weights >= 0) & weights.isfinite()).all()):
        raise ValueError("weights must be finite and not negative")


def check_standing(standing: Tensor) -> None:
    _check_tensor("standing", standing, _floating("standing", standing), "(G,)", 1)
    if len(standing) < 1:
        raise ValueError("standing must have at least one group, not (0,)")
    # a NaN passes: it is the trace of a run that diverged, which the loop reports
    if _readable(standing) and bool((standing < 0).any()):
        raise ValueError("standing must not be negative")


def check_of_groups(name: str, tensor: Tensor, standing: Tensor, *, whole: bool = False) -> None:
    """One number for each group, of the shape and device of `standing`; `whole` ones may be int64 as well."""
    if not (whole and tensor.dtype == torch.int64):
        _floating(name, tensor)
    if tensor.shape != standing.shape:
        raise ValueError(f"{name} must be {tuple(standing.shape)}, not {tuple(tensor.shape)}")
    _check_device("standing", standing, **{name: tensor})


def check_blocks(blocks: Tensor, num_blocks: int, groups: Tensor) -> None:
    """The block that each of the `groups` (G,) lies in."""
    _check_tensor("blocks", blocks, torch.int64, "(G,)", 1)
    if blocks.shape != groups.shape:
        raise ValueError(f"blocks must be {tuple(groups.shape)}, not {tuple(blocks.shape)}")
    if num_blocks < 1:
        raise ValueError(f"num_blocks must be at least 1, not {num_blocks}")
    _check_device("the groups", groups, blocks=blocks)
    _check_ids("blocks", blocks, 0, num_blocks)


def _floating(name: str, tensor: Tensor) -> torch.dtype:
    if tensor.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} must be float32 or float64, not {tensor.dtype}")
    return tensor.dtype


def _check_tensor(name: str, tensor: Tensor, dtype: torch.dtype, shape: str, ndim: int) -> None:
    if tensor.dtype != dtype:
        raise ValueError(f"{name} must be {dtype}, not {tensor.dtype}")
    if tensor.ndim != ndim:
        raise ValueError(f"{name} must be {shape}, not {tuple(tensor.shape)}")


def _check_device(reference_name: str, tensor: Tensor, **others: Tensor) -> None:
    for name, other in others.items():
        if other.device != tensor.device:
            raise ValueError(f"{name} is on {other.device}, but {reference_name} is on {tensor.device}")


def _check_ids(name: str, ids: Tensor, low: int, high: int) -> None:
    if not _readable(ids) or len(ids) == 0:
        return
    least, most = (int(bound) for bound in torch.aminmax(ids))
    if least < low or most >= high:
        raise ValueError(f"{name} must be in [{low}, {high}), but they go from {least} to {most}")


def _readable(tensor: Tensor) -> bool:
    """Whether looking at the values costs no synchronisation and breaks no trace."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def check_number(name: str, value: float, *, minimum: float) -> None:
    if not math.isfinite(value) or value < minimum:
        raise ValueError(f"{name} must be a finite number of at least {minimum:g}, not {value!r}")
