"""The process in which all.py runs the benchmarks: it starts once, and takes one job a line, as JSON, until its end.

Its first line says which device there is; after that each line says how a job ended. What the benchmarks print goes to
stderr. A document names the benchmarks that this process ran before, whose peak memory its own includes.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from jobs import WROTE


def main() -> None:
    from measure import circumstances

    from dgdd_cli.runtime.device import choose_device

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    chosen = choose_device("auto")
    answers.write(json.dumps({"device_type": chosen.device.type, "circumstances": circumstances(chosen)}) + "\n")
    before: list[str] = []
    for line in sys.stdin:
        job = json.loads(line)
        answers.write(json.dumps({"state": state_of(job, before)}) + "\n")
        before.append(job["name"])
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def state_of(job: dict[str, Any], before: list[str]) -> str:
    """Run a job and say how it ended; its document gains the names of those `before` it in this process."""
    out = Path(job["out"])
    part = out.with_name(out.name + ".part")
    try:
        failed = importlib.import_module(job["name"]).main([*job["arguments"], "--out", str(part)])
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return f"failed: {type(error).__name__}: {error}"
    if not part.exists():
        return "failed: it wrote nothing"
    document = json.loads(part.read_text(encoding="utf-8"))
    part.write_text(json.dumps(document | {"before_in_this_process": before}, indent=1) + "\n", encoding="utf-8")
    part.replace(out)
    return WROTE[bool(failed)]


if __name__ == "__main__":
    main()
