"""Two gloo processes on one machine."""

from __future__ import annotations

import json
import os
import re
import shutil
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
from dgdd_cli.errors import UsageError
from dgdd_cli.probes.source import probe_source
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.ranks import ALONE, Ranks, device_of_rank, join

CPU = torch.device("cpu")


def probes(dataset, source: str, ranks: Ranks = ALONE, steps: int = 4):
    norm = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
    settings = Probes(width=4, augment="crop", source=source, batch=2)
    at = probe_source(Context(ranks=ranks), dataset, settings, norm, steps=steps)
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


def two_ranks(*commands: list[str], cache: Path) -> list[subprocess.Popen[str]]:
    """One process for each command, which are ranks of one run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "OMP_NUM_THREADS": "1", "DGDD_CACHE": str(cache)}
    rendezvous = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env={**common, **rendezvous, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, command in enumerate(commands)
    ]


def ends(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit code and what was said on stderr, rank by rank."""
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [(process.returncode, words) for process, words in zip(processes, said, strict=True)]


def distillation(folder: Path, out: Path, *more: str) -> list[str]:
    where = ["-m", "dgdd_cli", "distill", str(folder), "--target", "cyan", "--out", str(out)]
    return [*where, "--ipc", "2", "--image-size", "8", "--method", "dm", *more]


def test_a_rank_that_is_killed_stops_the_others_and_the_checkpoint_stays(shapes_folder, tmp_path):
    """And a rank that does not see the checkpoint stops all before a step is made."""
    out, elsewhere, cache = tmp_path / "a.safetensors", tmp_path / "elsewhere", tmp_path / "cache"
    budget = ["--steps", "100000", "--set", "probes.width=4", "--probes", "bank:4", "--checkpoint-every", "0"]
    command = distillation(shapes_folder, out, *budget)
    processes = two_ranks(command, command, cache=cache)
    checkpoint = tmp_path / "a.safetensors.checkpoint"
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    processes[1].kill()
    (code, said), _ = ends(processes)
    assert code == 1
    assert "lost contact" in said
    assert "--resume" in said
    assert checkpoint.exists()
    assert not out.exists()

    kept = checkpoint.read_bytes()
    elsewhere.mkdir()
    blind = distillation(shapes_folder, elsewhere / "a.safetensors", *budget)
    for code, said in ends(two_ranks([*command, "--resume"], [*blind, "--resume"], cache=cache)):
        assert code == 2
        assert re.search(r"another run than rank 0: step on rank 0 is [1-9]\d*, on rank 1 is 0", said)
        assert "file system" in said
    assert checkpoint.read_bytes() == kept


def test_ranks_with_other_images_stop_before_the_first_step(shapes_folder, tmp_path):
    other = tmp_path / "other" / shapes_folder.name
    shutil.copytree(shapes_folder, other)
    (other / "amber" / "box" / "pic_000.jpg").unlink()
    out = tmp_path / "a.safetensors"
    commands = [distillation(folder, out, "--steps", "2") for folder in (shapes_folder, other)]
    for code, said in ends(two_ranks(*commands, cache=tmp_path / "cache")):
        assert code == 2
        assert "rank 1 is about to compute another run than rank 0: the data differ\n" in said
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


TALK = """
import os, sys, torch
from dgdd_cli.runtime.ranks import join
from dgdd_cli.errors import DataError, UsageError
with join(os.environ, torch.device("cpu")) as ranks:
    mine = {"data": "a", "seed": 0, "groups of images": "x", "threads": ranks.rank}
    assert ranks.agree(mine, may_differ=("threads",)) == {**mine, "threads": 0}
    for change in ({"seed": ranks.rank}, {"data": str(ranks.rank)}, {"groups of images": str(ranks.rank)}, {}):
        try:
            ranks.agree(mine | change)
        except UsageError as refused:
            print(refused.message.partition(": ")[2], file=sys.stderr)
    def decide(what):
        assert ranks.leads
        if isinstance(what, Exception):
            raise what
        return what
    assert ranks.leader_says(lambda: decide({"step": 7})) == {"step": 7}
    for error in (UsageError("taken", hint="wait"), DataError("torn")):
        try:
            ranks.leader_says(lambda: decide(error))
        except type(error) as told:
            print(told.message, told.hint, file=sys.stderr)
"""


def test_every_rank_hears_what_differs_and_what_the_leader_says(tmp_path):
    heard = "\n".join(
        [
            "seed on rank 0 is 0, on rank 1 is 1; threads on rank 0 is 0, on rank 1 is 1",
            "the data differ; threads on rank 0 is 0, on rank 1 is 1",
            "the groups differ; threads on rank 0 is 0, on rank 1 is 1",
            "threads on rank 0 is 0, on rank 1 is 1",
            "taken wait",
            "torn None\n",
        ]
    )
    for code, said in ends(two_ranks(["-c", TALK], ["-c", TALK], cache=tmp_path)):
        assert said == heard
        assert code == 0


def test_a_rank_that_fails_stops_the_others(shapes_folder, tmp_path):
    out = tmp_path / "a.safetensors"
    run = torchrun(shapes_folder, out, "--set", "probes.augment=nonsense")
    assert run.returncode != 0
    assert "nonsense" in run.stderr
    assert not out.exists()
