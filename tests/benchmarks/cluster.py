#!/usr/bin/env python3
"""K-means of many features as `dgdd cluster` runs it: scikit-learn's, on one thread of the CPU.

    python tests/benchmarks/cluster.py --out cluster-cpu.json

The points lie in overlapping Gaussian clusters; every figure is the median over the rounds. `cpu_seconds` is the time
of the process, which other programs on the machine lengthen less than the wall time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from measure import circumstances, parser_of, publish
from sklearn import __version__ as sklearn_version
from torch import Tensor

from dgdd_cli.risk.kmeans import kmeans
from dgdd_cli.runtime.device import choose_device
from dgdd_cli.runtime.memory import peak_memory_bytes
from dgdd_cli.runtime.seeds import stream

RESTARTS = 3  # what `dgdd cluster` runs


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--groups", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    points = blobs(options.points, options.features, options.groups)
    found: list[tuple[float, float, float]] = []
    for turn in range(options.rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        inertia = kmeans(points, options.groups, stream(turn, "benchmark"), restarts=RESTARTS).inertia
        found.append((time.perf_counter() - wall, time.process_time() - cpu, inertia))
    said = circumstances(choose_device("cpu"), options)
    report = {
        "schema": "dgdd.benchmark.cluster/1",
        "points": options.points,
        "features": options.features,
        "groups": options.groups,
        "restarts": RESTARTS,
        "rounds": options.rounds,
        **said,
        "software": said["software"] | {"scikit-learn": sklearn_version},
        **{
            key: {"dgdd": statistics.median(column)}
            for key, column in zip(("median_seconds", "cpu_seconds", "inertia"), zip(*found, strict=True), strict=True)
        },
        "peak_memory_bytes": peak_memory_bytes(),
    }
    publish(report, options.out)


def blobs(count: int, features: int, groups: int) -> Tensor:
    """Points float32 (count, features) around `groups` centres, spread twice as wide as the centres in each feature."""
    generator = stream(0, "benchmark", "points")
    centres = torch.randn(groups, features, generator=generator)
    own = torch.randint(groups, (count,), generator=generator)
    return torch.randn(count, features, generator=generator) * 2 + centres[own]


if __name__ == "__main__":
    main()
