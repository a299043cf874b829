"""Running out of memory is told as that, on every device and by every verb, with what takes less of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dgdd_cli.cli.out_of_memory import out_of_memory

VERBS = ("distill", "evaluate", "cluster", "inspect")
BYTES = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes. Error code 12"
ON_CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB of which 5 MiB is free"
)


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (MemoryError(), "out of memory on the CPU"),
        (
            RuntimeError(f"[enforce fail at alloc_cpu.cpp:127] err == 0. {BYTES}"),
            "on the CPU: 3.0 GiB more were asked for",
        ),
        (RuntimeError("std::bad_alloc"), "on the CPU"),
        (RuntimeError("unable to mmap 8192 bytes from file </x>: Cannot allocate memory (12)"), "on the CPU"),
        (OSError(12, "Cannot allocate memory"), "on the CPU"),
        (OSError("out of memory error when reading image file"), "on the CPU"),
        (torch.OutOfMemoryError(ON_CUDA), "on the CUDA device: 20.00 MiB more were asked for"),
        (torch.OutOfMemoryError("XPU out of memory. Tried to allocate 1.50 GiB"), "on the device: 1.50 GiB more"),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
            "on the CUDA device",
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "on the CUDA device",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "on the CUDA device"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), "on the Apple GPU"),
    ],
)
@pytest.mark.parametrize("verb", VERBS)
def test_every_device_is_known(problem: BaseException, told: str, verb: str) -> None:
    found = out_of_memory(problem, verb)
    assert found is not None
    message, hint = found
    assert told in message
    assert ("--device cpu" in hint) == ("on the CPU" not in message and verb in ("distill", "evaluate"))
    assert "--image-size" in hint
    assert ("--ipc" in hint) == (verb != "cluster")


def test_numpy_s_own_error_says_how_much() -> None:
    with pytest.raises(MemoryError) as raised:
        np.empty(2**52)
    assert out_of_memory(raised.value, "cluster")[0] == "out of memory on the CPU: 32.0 PiB more were asked for"


@pytest.mark.parametrize(
    "problem",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("out of resource: shared memory"),
        OSError(28, "No space left on device"),
        ValueError("memory"),
        KeyboardInterrupt(),
    ],
)
def test_other_failures_are_not_taken_for_it(problem: BaseException) -> None:
    assert out_of_memory(problem, "distill") is None


@pytest.mark.parametrize(
    ("problem", "roomy"),
    [
        (RuntimeError("could not create a primitive"), False),
        (RuntimeError("can't start new thread"), False),
        (ImportError("/x.so: failed to map segment from shared object"), True),  # a library needs one large piece
    ],
    ids=str,
)
def test_what_is_said_without_a_reason_is_memory_at_a_limit_of_the_process(problem, roomy, monkeypatch) -> None:
    for left, expected in ((None, False), (2**30, roomy), (2**20, True)):
        monkeypatch.setattr("dgdd_cli.cli.out_of_memory.left_of_limits", lambda left=left: left)
        assert (out_of_memory(problem, "distill") is not None) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
@pytest.mark.parametrize("verb", ["distill", "cluster"])
def test_a_limit_below_the_libraries_is_told_with_what_helps(verb: str, tmp_path: Path) -> None:
    """torch does not load, and no smaller image helps."""
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (400_000_000, -1)); "
    code += "from dgdd_cli.__main__ import main; main()"
    line = [verb, "digits", "--out", str(tmp_path / "o"), *(["--groups", "2"] if verb == "cluster" else [])]
    done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    told = "error: out of memory on the CPU: the limit of this process does not hold its libraries"
    assert done.stderr.splitlines() == [told, "hint: ulimit -v unlimited"]


LIMITED = """
import json, resource, sys
import torch
import dgdd_cli.cli.cluster, dgdd_cli.groups.grouping, dgdd_cli.engine.run, dgdd_cli.evaluation.run
from dgdd_cli.__main__ import run
room, *lines = json.loads(sys.argv[1])
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + room, -1))
print(*(run(line) for line in lines))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the address space is counted there")
def test_a_process_that_runs_out_says_so(shapes_folder: Path, tmp_path: Path) -> None:
    """45 images at 1024 px take 135 MiB, and 100 MiB are left."""
    common = ["--image-size", "1024", "--out", str(tmp_path / "o"), "--progress", "none", "--cache-dir", str(tmp_path)]
    recipe = ["--target", "none", "--method", "dm", "--ipc", "1", "--steps", "1", "--device", "cpu"]
    lines = [
        ["cluster", str(shapes_folder), "--groups", "2", *common],
        ["distill", str(shapes_folder), *recipe, *common],
    ]
    arguments = [sys.executable, "-c", LIMITED, json.dumps([100 * 2**20, *lines])]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.stdout == "1 1\n", done.stderr
    told = done.stderr.splitlines()
    assert [told[0], told[2]] == ["error: out of memory on the CPU: 135.0 MiB more were asked for"] * 2
    assert all("--image-size" in hint and "--device" not in hint for hint in (told[1], told[3]))
    assert not (tmp_path / "o").exists()
