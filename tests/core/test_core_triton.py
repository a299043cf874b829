"""The Triton kernels without a GPU: interpreted on the CPU against the reference, and compiled for real devices."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import core_cases
import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")


def run_script(name: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    root = HERE.parents[1]
    paths = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TRITON_")}
    return subprocess.run(
        [sys.executable, str(HERE / name)],
        env=clean | {"PYTHONPATH": paths, "TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    return run_script("core_cases.py", tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="1")


@pytest.mark.parametrize("name", core_cases.CHECKS)
def test_interpreted_kernels_agree_with_the_reference(interpreted: subprocess.CompletedProcess[str], name: str) -> None:
    assert name in interpreted.stdout.splitlines(), interpreted.stderr


def test_kernels_compile_for_the_oldest_and_a_current_device(tmp_path: Path) -> None:
    compiled = run_script("core_compile.py", tmp_path)
    assert compiled.returncode == 0, compiled.stderr
    lines = compiled.stdout.split("\n")
    assert sum("sm_80" in line for line in lines) == sum("sm_90" in line for line in lines) == 4
