import platform
import subprocess
import sys

import pytest

from dgdd_cli.engine.memory import peak_memory_bytes

CHURN = """
import resource, sys, torch
from dgdd_cli.engine.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "kept" else False
torch.set_num_threads(1)
torch.ones(16_000_000).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(16_000_000).sum()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_kept_memory_is_not_faulted_in_again():
    faults = {}
    for way in ("kept", "given back"):
        said = subprocess.run([sys.executable, "-c", CHURN, way], capture_output=True, text=True, check=True).stdout
        kept, count = said.split()
        assert (kept == "True") == (way == "kept")
        faults[way] = int(count)
    assert faults["kept"] * 4 < faults["given back"]


def test_peak_memory_counts_what_was_used():
    before = peak_memory_bytes()
    block = bytearray(before + 2**26)  # more than the process ever had: the peak must rise
    block[:: 2**12] = b"\x01" * len(block[:: 2**12])
    assert peak_memory_bytes() > before
