"""The benchmarks of a run, the important ones first, handed one by one to a process that has started already."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

READS = ("step", "products", "evaluation", "distill", "risk", "accuracy")  # these take --dataset and --data
TIERS = (  # each for all datasets before the next; what CUDA is wanted for comes before what it is not
    ("step", "products", "gpu_tests", "kernels", "evaluation", "distill"),
    ("risk", "accuracy"),
    ("cluster", "cold_start"),
)
CUDA_ONLY = ("gpu_tests",)
SHORTER = {  # on CUDA, where time is lent
    "distill": ("--steps", "1000"),
    "risk": ("--rounds", "10"),
    "accuracy": ("--seconds", "8", "--repeats", "1"),
    "cold_start": ("--rounds", "2"),
}
WROTE = ("done", "failed: see its document")  # the states of jobs that left a document


@dataclass(frozen=True, slots=True)
class Job:
    """A script of this folder with its arguments but --out, and the dataset that it reads, if any."""

    name: str
    dataset: str | None
    arguments: tuple[str, ...]

    def file(self, device_type: str) -> str:
        """The name of its document."""
        return "-".join(filter(None, (self.name, self.dataset, device_type))) + ".json"


def jobs_of(device_type: str, datasets: Sequence[str], *, common: Sequence[str], data: Sequence[str]) -> list[Job]:
    """What is run on a type of device, in order; `common` arguments go to all, those of `data` to what reads some."""
    jobs = []
    for tier in TIERS:
        for turn, dataset in enumerate(datasets):
            for name in tier:
                if name in CUDA_ONLY and device_type != "cuda":
                    continue
                own = SHORTER.get(name, ()) if device_type == "cuda" else ()
                if name in READS:
                    jobs.append(Job(name, dataset, (*own, *common, "--dataset", dataset, *data)))
                elif turn == 0:
                    jobs.append(Job(name, None, (*own, *common)))
    return jobs


@dataclass(slots=True, eq=False)
class Worker:
    """A process that runs jobs, and what it said of itself when it was ready."""

    process: subprocess.Popen[str]
    hello: Mapping[str, Any]


def start(command: Sequence[str], until: float) -> Worker:
    """A worker that is ready (see worker.py). Raises TimeoutError or ChildProcessError."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
    )
    try:
        return Worker(process, _answer(process, until))
    except BaseException:
        stop(process)
        raise


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and those that it started, which are of its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def run_jobs(
    worker: Worker, command: Sequence[str], jobs: Sequence[Job], outs: Sequence[str], until: float
) -> Iterator[tuple[Job, str]]:
    """Each job with how it ended, as soon as it has: "done", "failed: ...", or what time did to it.

    One process for all; after a failure the next job has a new one, for a device may not recover. A job is stopped at
    `until` (of time.monotonic) with whatever it started, and later ones are not begun.
    """
    current: Worker | None = worker
    try:
        for job, out in zip(jobs, outs, strict=True):
            began = time.monotonic()
            if began >= until:
                yield job, "not run: out of time"
                continue
            try:
                current = current or start(command, until)
                assert current.process.stdin
                current.process.stdin.write(json.dumps({**asdict(job), "out": out}) + "\n")
                state = str(_answer(current.process, until)["state"])
            except TimeoutError:
                state = f"stopped after {time.monotonic() - began:.0f} s: out of time"
            except (ChildProcessError, BrokenPipeError) as error:
                state = f"failed: {error}"
            if state != "done" and current:
                stop(current.process)
                current = None
            yield job, state
    finally:
        if current:
            stop(current.process)


def _answer(process: subprocess.Popen[str], until: float) -> dict[str, Any]:
    """The next line of a worker."""
    assert process.stdout
    left = max(0.0, min(until - time.monotonic(), 10**6))
    if not select.select([process.stdout], [], [], left)[0]:
        raise TimeoutError
    line = process.stdout.readline()
    if not line:
        raise ChildProcessError(f"the process ended with status {process.wait()}")
    return dict(json.loads(line))
