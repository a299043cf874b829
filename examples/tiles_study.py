#!/usr/bin/env python3
"""Tiles against single images at equal optimiser steps: every target, several seeds, paired; resumed cell by cell.

python examples/tiles_study.py --dataset digits --seeds 5 --out runs/tiles-digits
python examples/tiles_study.py --dataset pacs --data ~/datasets --seeds 3 --codec webp:75 --out runs/tiles-pacs
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping

from dgdd_cli import DgddError, study

METHODS = "random,kmeans,dm-balanced,sgs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data", help="folder that holds the datasets")
    parser.add_argument("--targets", help="comma-separated; default: every domain of the dataset")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--factors", default="1,2")
    parser.add_argument("--codec", default="raw")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--width", type=int, default=128, help="of the students")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    logging.getLogger("dgdd").addHandler(logging.StreamHandler(sys.stderr))
    recipes = {
        f"{method} x{factor}": {"method": method, "factor": int(factor), "codec": options.codec}
        for method in options.methods.split(",")
        for factor in options.factors.split(",")
    }
    try:
        done = study(
            options.dataset,
            recipes=recipes,
            out=options.out,
            targets=options.targets.split(",") if options.targets else None,
            seeds=options.seeds,
            ipc=options.ipc,
            image_size=options.image_size,
            repeats=options.repeats,
            baselines=["random-jpeg"],
            evaluation={"width": options.width},
            data=options.data,
            progress=with_time_left(),
        )
    except DgddError as problem:
        raise SystemExit(f"error: {problem.message}\nhint: {problem.hint}") from problem
    print(done.markdown)
    if done.failed:
        raise SystemExit(f"{len(done.failed)} cells failed; the same command tries them again")


def with_time_left():
    """One line a cell on stderr, with the time that the others take at the pace so far."""
    begun: list[tuple[float, int]] = []

    def report(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        if stage != "study":
            return
        begun.append((time.monotonic(), done))
        (start, first), (now, _) = begun[0], begun[-1]
        left = f", {(now - start) / (done - first) * (total - done) / 60:.0f} min left" if done > first else ""
        print(f"{done} of {total} cells{left}", file=sys.stderr, flush=True)

    return report


if __name__ == "__main__":
    main()
