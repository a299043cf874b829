"""Several processes, one distillation: every rank looks through probes of its own, and gradients are averaged."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from dgdd_cli.errors import DataError, DgddError, UsageError
from dgdd_cli.runtime.identity import Identity, differences

T = TypeVar("T")

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

    def leader_says(self, decide: Callable[[], T]) -> T:
        """What `decide` gives on the leading rank, the only one that calls it; its DgddError is every rank's."""
        if self.size == 1:
            return decide()
        said: list[Any] = [None]
        if self.leads:
            try:
                said = [(decide(), None)]
            except DgddError as problem:
                said = [(None, (type(problem).exit_code, problem.message, problem.hint))]
        with self._together():
            dist.broadcast_object_list(said, src=0, group=self.patient)
        value, failure = said[0]
        if failure:
            raise _told(*failure)
        return cast(T, value)

    def agree(self, facts: Identity, may_differ: Collection[str] = ()) -> Identity:
        """The leading rank's facts, once all have the same but for those that `may_differ`.

        Raises UsageError on every rank, naming in what they differ.
        """
        if self.size == 1:
            return facts
        all_facts: list[Any] = [None] * self.size
        with self._together():
            dist.all_gather_object(all_facts, dict(facts), group=self.patient)
        first, *others = ({k: v for k, v in each.items() if k not in may_differ} for each in all_facts)
        for rank, other in enumerate(others, start=1):
            if found := differences(first, other, ("on rank 0 is", f"on rank {rank} is")):
                raise UsageError(
                    f"rank {rank} is about to compute another run than rank 0: {'; '.join(found)}",
                    hint="give all ranks the same command, data and software, and --out on a file system that all see",
                )
        return cast(Identity, all_facts[0])

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RankLost(f"rank {self.rank} waited for a rank that is gone") from error

    def wait(self) -> None:
        """Wait until every rank is here, for hours if need be. Raises RankLost when one is gone."""
        if self.size == 1:
            return
        with self._together():
            dist.barrier(self.patient)


def _told(exit_code: int, message: str, hint: str | None) -> DgddError:
    """The error of another process."""
    kind = next((kind for kind in (UsageError, DataError) if kind.exit_code == exit_code), DgddError)
    return kind(message, hint=hint)


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
    local, asked = environment.get("LOCAL_RANK"), asked.lower()
    if local is None or asked not in ("auto", "cuda") or not torch.cuda.is_available():
        return asked
    return f"cuda:{local}"
