"""What the benchmarks share: common options, the circumstances of a run, medians, the sources of a dataset."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.load import Located, locate, read
from dgdd_cli.runtime.device import Choice
from dgdd_cli.runtime.software import software


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark: where it runs, where its JSON goes, what else has to be said."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--note", help="the circumstances of this run, kept in the JSON")
    return parser


def with_dataset(parser: argparse.ArgumentParser, image_size: int = 32) -> argparse.ArgumentParser:
    """The same parser with the options of a benchmark that reads images."""
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data", type=Path, help="folder that holds the datasets")
    parser.add_argument("--image-size", type=int, default=image_size)
    parser.add_argument("--ipc", type=int, default=10)
    return parser


def circumstances(chosen: Choice, options: argparse.Namespace | None = None) -> dict[str, Any]:
    """Where, with what and with which options a figure was measured."""
    given = vars(options) if options else {}
    said_elsewhere = {"device", "note", "out", "data"}
    return {
        "device": chosen.name,
        "device_type": chosen.device.type,
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "software": software(),
        "options": {name: value for name, value in given.items() if name not in said_elsewhere},
        "note": given.get("note"),
    }


def publish(report: dict[str, Any], out: Path | None) -> None:
    """The report on standard output, and in `out`."""
    text = json.dumps(report, indent=1)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")


def sources_of(options: argparse.Namespace) -> tuple[Located, DomainDataset]:
    """The dataset that the options name, and the images of all its domains but the default target."""
    located = locate(options.dataset, data_dir=options.data)
    names = [name for name in located.domain_names if name != located.default_target]
    return located, read(located, image_size=options.image_size, domains=names)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall seconds of `work`, with what it left in the device's queue."""
    began = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - began


def medians(
    works: Mapping[str, Callable[[], object]], rounds: Mapping[str, int], device: torch.device
) -> dict[str, float]:
    """Median wall seconds of each over its number of rounds, after one that is not counted; they take turns.

    Whatever else a machine does then slows all of them, and their ratios less.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(max(rounds.values()) + 1):
        for name, work in works.items():
            if turn <= rounds[name]:
                found[name].append(seconds_of(work, device))
    return {name: statistics.median(seconds[1:]) for name, seconds in found.items()}


def wait_for(device: torch.device) -> None:
    """Return when everything queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
