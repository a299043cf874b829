"""Checkpoints: the whole state of a run in one small file, written atomically, bound to the run that it is of.

Random streams are keyed by step (see seeds.py), so what is optimised, its velocity and the step
number are the state, whatever the method.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dgdd_cli.errors import UsageError
from dgdd_cli.methods.state import State
from dgdd_cli.runtime.identity import Identity, differences
from dgdd_cli.storage.container import invalid, read_container, tensor_sha256, write_container
from dgdd_cli.storage.layout import TensorRule
from dgdd_cli.text import canonical_json

SCHEMA = "dgdd.checkpoint/3"
TENSOR, VELOCITY = "tensor.", "velocity."  # before the names of what is optimised
FIXED = ("labels", "domains", "standing")


def checkpoint_path(out: Path) -> Path:
    """The checkpoint that belongs to an output file: beside it, `<name>.checkpoint`."""
    return out.with_name(out.name + ".checkpoint")


def save_checkpoint(path: Path, state: State, identity: Identity) -> None:
    """Write the state of a run, replacing an older one atomically; all that is written is hashed."""
    tensors = {name: tensor.detach().cpu() for name, tensor in _named(state).items()}
    optimised = {name: tensor.ndim for name, tensor in state.tensors.items()}
    document = {
        "schema": SCHEMA,
        "step": state.step,
        "run": dict(identity),
        "optimised": optimised,
        "tensors": _stated(tensors),
    }
    write_container(path, tensors, document | {"sha256": _sha256(document)}, overwrite=True)


def load_checkpoint(path: Path, identity: Identity) -> State:
    """The state that was saved. Raises DataError (not a checkpoint, or not as it was written) or UsageError (of a run
    that differs, naming in what)."""
    tensors, document = read_container(path, kind="checkpoint", more=_of_the_optimised)
    try:
        _check(tensors, document)
    except ValueError as error:
        raise invalid(path, "checkpoint", error) from error
    if differing := differences(document["run"], identity):
        raise UsageError(
            f"{path} belongs to another run: {'; '.join(differing)}",
            hint="repeat the settings of that run with --resume, or --force to start afresh",
        )
    return State(
        step=document["step"],
        tensors={name: tensors[TENSOR + name] for name in document["optimised"]},
        velocities={name: tensors[VELOCITY + name] for name in document["optimised"]},
        **{name: tensors[name] for name in FIXED},
    )


def digests(state: State) -> dict[str, str]:
    """sha256 of each tensor of a state, by name."""
    return {name: tensor_sha256(tensor) for name, tensor in _named(state).items()}


def _named(state: State) -> dict[str, Tensor]:
    return {
        **{TENSOR + name: tensor for name, tensor in state.tensors.items()},
        **{VELOCITY + name: tensor for name, tensor in state.velocities.items()},
        **{name: getattr(state, name) for name in FIXED},
    }


def _of_the_optimised(document: Mapping[str, Any]) -> dict[str, TensorRule]:
    """The tensors that a checkpoint holds of a run: each that is optimised and its velocity."""
    optimised = document.get("optimised")
    if not isinstance(optimised, dict) or not all(isinstance(rank, int) for rank in optimised.values()):
        raise ValueError("it does not say what is optimised")
    return {prefix + name: TensorRule("F32", rank) for name, rank in optimised.items() for prefix in (TENSOR, VELOCITY)}


def _check(tensors: Mapping[str, Tensor], document: dict[str, Any]) -> None:
    """Raise ValueError unless tensors and document are those that `save_checkpoint` writes."""
    described = {key: value for key, value in document.items() if key != "sha256"}
    if document.get("sha256") != _sha256(described):
        raise ValueError("its description is not the one that was written (its sha256 differs)")
    for name, stated in _stated(tensors).items():
        if document["tensors"].get(name) != stated:
            raise ValueError(f"the tensor {name!r} is not the one that was written (its sha256 differs)")


def _stated(tensors: Mapping[str, Tensor]) -> dict[str, list[object]]:
    return {name: [list(tensor.shape), tensor_sha256(tensor)] for name, tensor in tensors.items()}


def _sha256(document: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()
