#!/usr/bin/env python3
"""K-means of many features by dgdd and by scikit-learn, with the same number of restarts, on the CPU.

    python tests/benchmarks/cluster.py --out cluster-cpu.json

The points lie in overlapping Gaussian clusters. The two take turns; every figure is the median over the rounds.
`cpu_seconds` is the time of all threads together, which other programs on the machine lengthen less than the wall time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from measure import circumstances, parser_of, publish
from sklearn import __version__ as sklearn_version
from sklearn.cluster import KMeans
from torch import Tensor

from dgdd_cli.risk.kmeans import kmeans
from dgdd_cli.runtime.device import choose_device
from dgdd_cli.runtime.memory import peak_memory_bytes
from dgdd_cli.runtime.seeds import stream

RESTARTS = 3  # what `dgdd cluster` runs
ITERATIONS = 100


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--groups", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    points = blobs(options.points, options.features, options.groups)
    array = points.numpy()

    def ours(turn: int) -> float:
        return kmeans(points, options.groups, stream(turn, "benchmark")).inertia

    def theirs(turn: int) -> float:
        oracle = KMeans(options.groups, n_init=RESTARTS, max_iter=ITERATIONS, tol=1e-4, random_state=turn)
        return float(oracle.fit(array).inertia_)

    works: dict[str, Callable[[int], float]] = {"dgdd": ours, "scikit-learn": theirs}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in works}
    for turn in range(options.rounds):
        for name, work in works.items():
            wall, cpu = time.perf_counter(), time.process_time()
            inertia = work(turn)
            found[name].append((time.perf_counter() - wall, time.process_time() - cpu, inertia))
    columns = {name: list(zip(*rows, strict=True)) for name, rows in found.items()}
    figures = {
        key: {name: statistics.median(column[at]) for name, column in columns.items()}
        for at, key in enumerate(("median_seconds", "cpu_seconds", "inertia"))
    }
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
        **figures,
        "scikit_learn_over": figures["median_seconds"]["scikit-learn"] / figures["median_seconds"]["dgdd"],
        "inertia_over_scikit_learn": figures["inertia"]["dgdd"] / figures["inertia"]["scikit-learn"],
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
