"""The kinds of file that share the container, and the exact tensors of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.text import printable

NUMPY = {"U8": "<u1", "I64": "<i8", "F32": "<f4"}
TORCH = {"U8": torch.uint8, "I64": torch.int64, "F32": torch.float32}


@dataclass(frozen=True, slots=True)
class TensorRule:
    """What one tensor of a layout must be: safetensors dtype, number of dimensions, whether it may be missing."""

    dtype: str
    dimensions: int
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of file: the schema its document names, the exact tensors it may hold.

    A bundle holds those of its parameterisation besides, and a checkpoint those that are optimised: the document says
    which.
    """

    schema: str
    tensors: Mapping[str, TensorRule]


LAYOUTS: Mapping[str, Layout] = {
    "bundle": Layout(
        "dgdd/1",
        {
            "labels": TensorRule("I64", 1),
            "domains": TensorRule("I64", 1),
            "tile_domains": TensorRule("I64", 2, optional=True),
            "soft_labels": TensorRule("F32", 2, optional=True),
            "groups": TensorRule("I64", 1, optional=True),
        },
    ),
    "groups": Layout(
        "dgdd.groups/1",
        {
            "groups": TensorRule("I64", 1),
            "centroids": TensorRule("F32", 2),
            "group_classes": TensorRule("I64", 1, optional=True),
        },
    ),
    "checkpoint": Layout(
        "dgdd.checkpoint/3",
        {
            "labels": TensorRule("I64", 1),
            "domains": TensorRule("I64", 1),
            "standing": TensorRule("F32", 1),
        },
    ),
}


def check_layout(tensors: Mapping[str, Tensor], kind: str, more: Mapping[str, TensorRule] | None = None) -> None:
    """Raise ValueError unless names, dtypes and dimensions of `tensors` are those of this kind and of `more`."""
    rules = rules_of(kind, more)
    check_names(tensors, rules)
    for name, tensor in tensors.items():
        rule = rules[name]
        if tensor.dtype != TORCH[rule.dtype] or tensor.ndim != rule.dimensions:
            raise ValueError(misfit(name, rule, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)))


def rules_of(kind: str, more: Mapping[str, TensorRule] | None = None) -> dict[str, TensorRule]:
    """The rule of every tensor in a file of this kind, those of `more` first. Raises ValueError for a name in both."""
    own = LAYOUTS[kind].tensors
    if more and (taken := sorted(more.keys() & own.keys())):
        raise ValueError(f"the tensor {taken[0]!r} has a meaning of its own in a {kind}")
    return {**(more or {}), **own}


def check_names(found: Mapping[str, object], rules: Mapping[str, TensorRule]) -> None:
    """Raise ValueError unless `found` has exactly the names that `rules` ask for."""
    for name in found:
        if name not in rules:
            raise ValueError(f"it holds an unexpected tensor {printable(name, length=40)!r}")
    for name, rule in rules.items():
        if not rule.optional and name not in found:
            raise ValueError(f"the tensor {name!r} is missing")


def misfit(name: str, rule: TensorRule, dtype: str, shape: tuple[int, ...]) -> str:
    """Words for a tensor whose dtype or dimensions break its rule."""
    wanted = str(TORCH[rule.dtype]).removeprefix("torch.")
    return (
        f"the tensor {name!r} must be {wanted} with {rule.dimensions} dimension{'s'[: rule.dimensions > 1]}, "
        f"not {printable(dtype, length=20)} {shape}"
    )
