"""Two gloo processes on one machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.config import Probes
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.engine.probes import probe_source
from dgdd_cli.engine.ranks import ALONE, Ranks, device_of_rank, join
from dgdd_cli.errors import UsageError
from dgdd_cli.progress import silent

CPU = torch.device("cpu")


def probes(dataset, source: str, ranks: Ranks = ALONE, steps: int = 4):
    norm = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
    settings = Probes(width=4, augment="crop", source=source, batch=2)
    at = probe_source(dataset, settings, norm, seed=0, steps=steps, device=CPU, progress=silent, ranks=ranks)
    return [at(step).cells for step in range(steps)]


def distinct(means: list[torch.Tensor]) -> set[bytes]:
    return {m.numpy().tobytes() for m in means}


@pytest.mark.parametrize("source", ["fresh", "bank:4"])
def test_ranks_look_through_probes_of_their_own_and_together_through_all(shapes, source):
    dataset = shapes(per_cell=2)
    alone = distinct(probes(dataset, source, steps=4))
    first, second = (distinct(probes(dataset, source, Ranks(rank, 2), steps=2)) for rank in (0, 1))
    assert first.isdisjoint(second)
    assert first | second == alone


def test_a_bank_smaller_than_the_ranks_is_refused(shapes):
    with pytest.raises(UsageError, match="too small for 3 ranks"):
        probes(shapes(per_cell=2), "bank:2", Ranks(2, 3))


def test_without_torchrun_a_process_is_alone():
    with join({}, CPU) as ranks:
        assert ranks == ALONE
        assert torch.equal(ranks.mean(torch.ones(2)), torch.ones(2))
    with join({"WORLD_SIZE": "1", "RANK": "0"}, CPU) as ranks:
        assert ranks == ALONE


def test_half_a_rendezvous_is_refused():
    with pytest.raises(UsageError, match="torchrun"), join({"WORLD_SIZE": "2"}, CPU):
        pytest.fail("it joined nobody")


def test_a_device_that_was_named_stays():
    assert device_of_rank("cpu", {"LOCAL_RANK": "1"}) == "cpu"
    assert device_of_rank("auto", {}) == "auto"


def torchrun(folder: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dgdd_cli"]
    arguments = ["distill", str(folder), "--target", "cyan", "--ipc", "2", "--image-size", "8", "--steps", "4"]
    settings = ["--set", "probes.width=4", "--probes", "bank:4", "--method", "dm", "--out", str(out), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DGDD_CACHE": str(out.parent / "cache")}
    return subprocess.run(
        [*command, *arguments, *settings, *more], capture_output=True, text=True, env=environment, timeout=240
    )


def test_two_processes_write_one_bundle_and_the_same_one_again(shapes_folder, tmp_path):
    outs = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for out in outs:
        run = torchrun(shapes_folder, out)
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout)["bundle"] == str(out)  # one document: only rank 0 speaks
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert load_bundle(outs[0]).manifest.method.settings["ranks"] == 2


def test_a_rank_that_is_killed_stops_the_others_and_the_checkpoint_stays(shapes_folder, tmp_path):
    out = tmp_path / "a.safetensors"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = [
        "distill",
        str(shapes_folder),
        "--target",
        "cyan",
        "--ipc",
        "2",
        "--image-size",
        "8",
        "--out",
        str(out),
    ]
    budget = ["--steps", "100000", "--set", "probes.width=4", "--probes", "bank:4", "--checkpoint-every", "0"]
    processes = []
    for rank in ("0", "1"):
        rendezvous = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "DGDD_CACHE": str(tmp_path / "cache"), **rendezvous}
        command = [sys.executable, "-m", "dgdd_cli", *arguments, *budget]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    checkpoint = tmp_path / "a.safetensors.checkpoint"
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    processes[1].kill()
    _, said = processes[0].communicate(timeout=90)
    processes[1].communicate()
    assert processes[0].returncode == 1
    assert "lost contact" in said
    assert "--resume" in said
    assert checkpoint.exists()
    assert not out.exists()


def test_a_rank_that_fails_stops_the_others(shapes_folder, tmp_path):
    out = tmp_path / "a.safetensors"
    run = torchrun(shapes_folder, out, "--set", "probes.augment=nonsense")
    assert run.returncode != 0
    assert "nonsense" in run.stderr
    assert not out.exists()
