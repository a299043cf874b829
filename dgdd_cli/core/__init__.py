"""The CUDA core: spectral surgery and grouped CVaR, defined in plain torch and reproduced by Triton kernels."""

from __future__ import annotations

from dgdd_cli.core.dispatch import (
    POOLS,
    GroupedRisk,
    Surgery,
    cvar,
    exponentiated_weights,
    grouped_cvar,
    spectral_surgery,
)
from dgdd_cli.core.status import KERNELS, Status, status

__all__ = [
    "KERNELS",
    "POOLS",
    "GroupedRisk",
    "Status",
    "Surgery",
    "cvar",
    "exponentiated_weights",
    "grouped_cvar",
    "spectral_surgery",
    "status",
]
