"""dgdd: dataset distillation that generalises to unseen domains and serves rare subgroups.

Importing this package imports neither torch nor any command; the public names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "distill": "dgdd_cli.api.distill",
    "evaluate": "dgdd_cli.api.evaluate",
    "cluster": "dgdd_cli.api.cluster",
    "study": "dgdd_cli.studies.study",
    "Result": "dgdd_cli.api.evaluate",
    "DistilledSet": "dgdd_cli.bundle.dataset",
    "Bundle": "dgdd_cli.bundle.read",
    "load_bundle": "dgdd_cli.bundle.read",
    "DomainDataset": "dgdd_cli.data.dataset",
    "load_dataset": "dgdd_cli.data.load",
    "DgddError": "dgdd_cli.errors",
}

__all__ = [
    "Bundle",
    "DgddError",
    "DistilledSet",
    "DomainDataset",
    "Result",
    "__version__",
    "cluster",
    "distill",
    "evaluate",
    "load_bundle",
    "load_dataset",
    "study",
]

if TYPE_CHECKING:
    from dgdd_cli.api.cluster import cluster
    from dgdd_cli.api.distill import distill
    from dgdd_cli.api.evaluate import Result, evaluate
    from dgdd_cli.bundle.dataset import DistilledSet
    from dgdd_cli.bundle.read import Bundle, load_bundle
    from dgdd_cli.data.dataset import DomainDataset
    from dgdd_cli.data.load import load_dataset
    from dgdd_cli.errors import DgddError
    from dgdd_cli.studies.study import study


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dgdd_cli' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
