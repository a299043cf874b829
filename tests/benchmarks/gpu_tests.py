#!/usr/bin/env python3
"""Run the tests marked `gpu` and write how they ended: python tests/benchmarks/gpu_tests.py [--out FILE].

Exit status 1 if one failed, or if none ran: on a machine without CUDA they are skipped, which says nothing.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from measure import circumstances, parser_of, publish

from dgdd_cli.runtime.device import choose_device

TESTS = Path(__file__).resolve().parent.parent


class Counted:
    """Counts how tests end, as a plugin of pytest."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            self.counts[report.outcome if report.when == "call" or report.skipped else "errors"] += 1


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser_of(__doc__).parse_args(arguments)
    files = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if "mark.gpu" in path.read_text(encoding="utf-8")]
    counted = Counted()
    status = int(pytest.main(["-m", "gpu", "-q", "--color=no", "-p", "no:cacheprovider", *files], plugins=[counted]))
    passed = status == 0 and counted.counts["passed"] > 0
    chosen = choose_device(options.device)
    report = {"schema": "dgdd.benchmark.gpu_tests/1", **circumstances(chosen, options), "counts": counted.counts}
    publish(report | {"all_pass": passed}, options.out)
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
