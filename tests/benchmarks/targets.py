"""What the benchmarks should show: figures of their documents, with bounds, for every kind of device or for CUDA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of a benchmark's document (its path of keys) and its bound; `dataset` None: reads none."""

    benchmark: str
    figure: tuple[str, ...]
    bound: str  # "at least", "at most" or "is"
    value: float | str | bool
    says: str
    cuda_only: bool = True
    reads: bool = True


TARGETS = (
    Target("gpu_tests", ("all_pass",), "is", True, "the tests marked gpu pass", reads=False),
    Target("kernels", ("cuda", "status"), "is", "run", "the kernels run and agree with the reference", reads=False),
    Target("step", ("plain_over", "dm width 64 TF32"), "at least", 50, "a dm step against one of the plain loop"),
    Target("step", ("plain_over", "sgs width 64 TF32"), "at least", 50, "an sgs step against one of the plain loop"),
    Target("step", ("sgs_over_dm", "64 TF32"), "at most", 1.2, "an sgs step over a dm step"),
    Target("evaluation", ("repeats_over_one",), "at most", 2, "ten repeats of an evaluation over one"),
    Target("distill", ("plain_over", "dm 1000 steps"), "at least", 5, "the whole command, 1,000 steps of dm", False),
    Target("distill", ("plain_over", "sgs 1000 steps"), "at least", 5, "the whole command, 1,000 steps of sgs", False),
    Target("risk", ("share_of_step", "dm-balanced"), "at most", 0.1, "share of CVaR over kmeans:4 in a dm step", False),
    Target("risk", ("share_of_step", "sgs"), "at most", 0.1, "share of CVaR over kmeans:4 in an sgs step", False),
    Target("risk", ("share_of_step", "rdd"), "at most", 0.1, "share of its risk in an rdd step", False),
    Target("risk", ("share_of_run", "rdd kmeans"), "at most", 0.1, "share of K-means in an rdd run", False),
    Target("cluster", ("median_seconds", "dgdd"), "at most", 60, "seconds, 100,000 x 512 into 50 groups", False, False),
    Target("cold_start", ("median_seconds", "dgdd --help"), "at most", 0.5, "seconds of dgdd --help", False, False),
)


def planned(device_type: str, datasets: list[str]) -> list[tuple[Target, str | None]]:
    """The targets of a device type, once for every dataset where they read one."""
    chosen = [target for target in TARGETS if device_type == "cuda" or not target.cuda_only]
    return [(target, name) for target in chosen for name in (datasets if target.reads else [None])]


def verdict(target: Target, dataset: str | None, document: dict[str, Any] | None) -> dict[str, Any]:
    """The target beside what the document of this run says; without a document "not run"."""
    found: Any = document
    for key in target.figure if document is not None else ():
        found = found.get(key) if isinstance(found, dict) else None
    line = {
        "benchmark": target.benchmark,
        "dataset": dataset,
        "says": target.says,
        "figure": "/".join(target.figure),
        "target": f"{target.bound} {target.value}",
        "measured": "not run" if found is None else found,
    }
    return line if found is None else line | {"met": met(target, found)}


def met(target: Target, found: Any) -> bool:
    """Whether a measured figure keeps to its bound."""
    if target.bound == "is":
        return bool(found == target.value)
    return bool(found >= target.value if target.bound == "at least" else found <= target.value)
