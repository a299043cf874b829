"""The schedule of the benchmarks: what comes first, and what time and failures do to the rest."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import jobs
import pytest
import worker
from jobs import Job, jobs_of, run_jobs, start

# Does as worker.py does, at once: a job is named after what happens to it.
STAND_IN = """
import json, os, pathlib, sys, time
print(json.dumps({"device_type": "cpu", "pid": os.getpid()}), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if job["name"] == "dies": os._exit(9)
    if job["name"] == "hangs": time.sleep(600)
    pathlib.Path(job["out"]).write_text(json.dumps({"pid": os.getpid(), "arguments": job["arguments"]}))
    print(json.dumps({"state": "failed: as asked" if job["name"] == "fails" else "done"}), flush=True)
"""
COMMAND = [sys.executable, "-S", "-c", STAND_IN]


def run(names: list[str], folder: Path, seconds: float) -> tuple[list[str], list[int | None]]:
    """The states of jobs, and the processes that wrote their documents."""
    until = time.monotonic() + seconds
    outs = [folder / f"{place}.json" for place in range(len(names))]
    work = [Job(name, None, ("--note", "x")) for name in names]
    ended = list(run_jobs(start(COMMAND, until), COMMAND, work, list(map(str, outs)), until))
    assert [job for job, _ in ended] == work
    pids = [json.loads(out.read_text())["pid"] if out.exists() else None for out in outs]
    return [state for _, state in ended], pids


def test_one_process_runs_all(tmp_path):
    states, pids = run(["one", "two", "three"], tmp_path, 60)
    assert states == ["done"] * 3
    assert len(set(pids)) == 1


def test_a_failure_and_a_death_cost_nothing_but_themselves(tmp_path):
    states, pids = run(["one", "fails", "two", "dies", "three"], tmp_path, 60)
    assert states == ["done", "failed: as asked", "done", "failed: the process ended with status 9", "done"]
    assert pids[0] == pids[1] != pids[2] != pids[4]  # a device may not recover from what failed on it


def test_when_time_is_over_the_rest_says_so_and_what_was_written_stays(tmp_path):
    states, pids = run(["one", "hangs", "two", "three"], tmp_path, 2)
    assert states[0] == "done"
    assert pids[0] is not None
    assert states[1].startswith("stopped after")
    assert states[1].endswith("out of time")
    assert states[2:] == ["not run: out of time"] * 2


def test_a_document_is_there_as_soon_as_its_job_is_done(tmp_path):
    until = time.monotonic() + 60
    work = [Job(name, None, ()) for name in ("one", "two")]
    outs = [str(tmp_path / name) for name in ("one", "two")]
    ended = run_jobs(start(COMMAND, until), COMMAND, work, outs, until)
    assert next(ended)[1] == "done"
    assert Path(outs[0]).exists()
    assert not Path(outs[1]).exists()
    ended.close()


def test_what_cuda_is_wanted_for_comes_first():
    planned = jobs_of("cuda", ["digits", "pacs"], common=["--note", "x"], data=["--data", "d"])
    order = [(job.name, job.dataset) for job in planned]
    assert order[:3] == [("step", "digits"), ("products", "digits"), ("gpu_tests", None)]
    assert {name for name, _ in order[-2:]} == {"cluster", "cold_start"}
    assert order.index(("distill", "pacs")) < order.index(("risk", "digits"))
    assert len(set(order)) == len(order) == 2 * 6 + 4
    assert all(("--dataset" in job.arguments) == (job.dataset is not None) for job in planned)
    assert "gpu_tests" not in {job.name for job in jobs_of("cpu", ["digits"], common=[], data=[])}


def test_every_benchmark_of_the_folder_has_its_place():
    here = Path(jobs.__file__).parent
    mains = [path for path in here.glob("*.py") if "\ndef main(arguments" in path.read_text(encoding="utf-8")]
    scripts = {path.stem for path in mains if not path.stem.startswith("test_")}
    assert scripts == {name for tier in jobs.TIERS for name in tier}


@pytest.mark.parametrize("fails", [False, True])
def test_a_document_names_what_its_process_ran_before(tmp_path, monkeypatch, fails):
    script = (
        "import pathlib\n"
        "def main(arguments):\n"
        "    assert arguments[:2] == ['--note', 'x']\n"
        "    pathlib.Path(arguments[arguments.index('--out') + 1]).write_text('{\"figure\": 1}')\n"
        f"    return {int(fails)}\n"
    )
    name = f"toy_benchmark_{fails}"  # imported once a process
    (tmp_path / f"{name}.py").write_text(script)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "toy.json"
    job = {"name": name, "dataset": None, "arguments": ["--note", "x"], "out": str(out)}
    assert worker.state_of(job, ["step"]) == ("failed: see its document" if fails else "done")
    assert json.loads(out.read_text()) == {"figure": 1, "before_in_this_process": ["step"]}
    assert worker.state_of(job | {"name": "no_such_benchmark"}, []).startswith("failed: ModuleNotFoundError")


def test_the_plan_that_is_kept_for_a_gpu_is_the_one_that_would_run(tmp_path):
    """A target that was renamed or added shows as not run, and none is left under an old name."""
    script = Path(jobs.__file__).parent
    line = [
        sys.executable,
        str(script / "all.py"),
        "--plan",
        "cuda",
        "--datasets",
        "digits,pacs",
        "--out",
        str(tmp_path),
    ]
    subprocess.run(line, check=True, capture_output=True, timeout=120)
    kept = json.loads((script / "results" / "cuda.json").read_text())
    planned = json.loads((tmp_path / "cuda.json").read_text())
    told = ("benchmark", "dataset", "says", "figure", "target")
    assert [[target[key] for key in told] for target in kept["targets"]] == [
        [target[key] for key in told] for target in planned["targets"]
    ]
