"""Several processes, one distillation: every rank looks through probes of its own, and gradients are averaged."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from dgdd_cli.errors import DgddError, UsageError

TIMEOUT = datetime.timedelta(seconds=50)  # a rank that died is noticed within a minute
PATIENCE = datetime.timedelta(hours=12)  # for another rank's probe bank: one may find its own in the cache


class RankLost(DgddError):
    """Another rank died or hangs."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among `size` of them; rank 0 reports and writes."""

    rank: int = 0
    size: int = 1
    patient: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean of every rank's `value`; the same bits on every rank. Raises RankLost when a rank is gone."""
        if self.size == 1:
            return value
        total = value.contiguous().clone()
        try:
            dist.all_reduce(total)
        except RuntimeError as error:  # gloo and NCCL both report a lost peer or a timeout so
            raise RankLost(
                f"rank {self.rank} lost contact with the other ranks", hint="the checkpoint is kept: run with --resume"
            ) from error
        return total / self.size

    def wait(self) -> None:
        """Wait until every rank is here, for hours if need be. Raises RankLost when one is gone."""
        if self.size == 1:
            return
        try:
            dist.barrier(self.patient)
        except RuntimeError as error:
            raise RankLost(f"rank {self.rank} waited for a rank that is gone") from error


ALONE = Ranks()


@contextmanager
def join(environment: Mapping[str, str], device: torch.device) -> Iterator[Ranks]:
    """The ranks that torchrun started (RANK, WORLD_SIZE and the rendezvous in `environment`), or this process alone.

    NCCL between CUDA devices, gloo otherwise. Raises UsageError when the variables are incomplete.
    """
    if "WORLD_SIZE" not in environment:
        yield ALONE
        return
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except (KeyError, ValueError) as error:
        raise UsageError("WORLD_SIZE is set, but not by torchrun", hint="unset WORLD_SIZE, or use torchrun") from error
    if size == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise DgddError(f"rank {rank} of {size} could not join the others: {error}") from error
    try:
        patient = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(patient, dist.ProcessGroup)  # every rank is a member
        yield Ranks(rank, size, patient)
    finally:
        dist.destroy_process_group()


def device_of_rank(asked: str, environment: Mapping[str, str]) -> str:
    """Where this rank computes: `auto` and `cuda` become the CUDA device of its number on this machine, if any."""
    local = environment.get("LOCAL_RANK")
    if local is None or asked not in ("auto", "cuda") or not torch.cuda.is_available():
        return asked
    return f"cuda:{local}"
