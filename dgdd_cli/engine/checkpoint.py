"""Checkpoints: the whole state of a run in one small file, written atomically, bound to its configuration.

Random streams are keyed by step (see seeds.py), so the images, their velocity and the step number are the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dgdd_cli.bundle.container import read_container, write_container
from dgdd_cli.errors import DataError, UsageError

SCHEMA = "dgdd.checkpoint/1"
TENSORS = ("images", "velocity", "labels", "domains", "standing")


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands after `step` steps: float32 images and velocity (N, 3, H, W), int64 labels and domains (N,),
    and the weights of the groups that group-DRO has accumulated, float32 (G,), empty without it."""

    step: int
    images: Tensor
    velocity: Tensor
    labels: Tensor
    domains: Tensor
    standing: Tensor


def checkpoint_path(out: Path) -> Path:
    """The checkpoint that belongs to an output file: beside it, `<name>.checkpoint`."""
    return out.with_name(out.name + ".checkpoint")


def save_checkpoint(path: Path, state: State, digest: str) -> None:
    """Write the state, replacing an older one atomically; `digest` is that of the run's settings and data."""
    tensors = {name: getattr(state, name).detach().cpu() for name in TENSORS}
    write_container(path, tensors, {"schema": SCHEMA, "step": state.step, "digest": digest}, overwrite=True)


def load_checkpoint(path: Path, digest: str) -> State:
    """The state that was saved. Raises DataError (not a checkpoint) or UsageError (of another run)."""
    tensors, document = read_container(path, kind="checkpoint")
    step = document.get("step")
    shape = tensors["images"].shape
    if (
        not isinstance(step, int)
        or step < 0
        or tensors["velocity"].shape != shape
        or any(tensors[name].shape != shape[:1] for name in ("labels", "domains"))
    ):
        raise DataError(f"{path} is not a checkpoint that can be continued", hint="--force starts afresh")
    if document.get("digest") != digest:
        raise UsageError(
            f"{path} belongs to a run with other settings or other data",
            hint="repeat the settings of that run with --resume, or --force to start afresh",
        )
    return State(step=step, **tensors)
