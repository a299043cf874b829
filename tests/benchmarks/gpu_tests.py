#!/usr/bin/env python3
"""Run the tests marked `gpu` and write how they ended: python tests/benchmarks/gpu_tests.py [--out FILE].

Exit status 1 if one failed, or if none ran: on a machine without CUDA they are skipped, which says nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from measure import circumstances, parser_of, publish

from dgdd_cli.engine.device import choose_device


def main() -> int:
    options = parser_of(__doc__).parse_args()
    tests = str(Path(__file__).resolve().parent.parent)
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--color=no", tests]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    print(done.stdout, file=sys.stderr)
    summary = (done.stdout.strip().splitlines() or [""])[-1]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", summary)}
    chosen = choose_device(options.device)
    report = {"schema": "dgdd.benchmark.gpu_tests/1", **circumstances(chosen, options), "counts": counts}
    publish(report | {"all_pass": done.returncode == 0 and counts.get("passed", 0) > 0}, options.out)
    return int(done.returncode != 0 or not counts.get("passed"))


if __name__ == "__main__":
    sys.exit(main())
