"""Times the kernels of the core on a CUDA device; run by hand: python tests/benchmarks/kernels.py [--out FILE].

Each kernel is reported as GB/s of the bytes that have to move, as a share of the copy bandwidth measured in the same
run, and as a ratio to the reference in eager torch. Before it is timed a kernel has to agree with the reference.
Without a device that can run them the kernels are "not run", with the reason, and the CPU reference is timed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgdd_cli.core import POOLS, Surgery, grouped_cvar, spectral_surgery, status

# (domains, images, channels, height, half width): a digits or PACS run at 32 px, then sizes far above any cache
SMALL = (3, 100, 3, 32, 17)
LARGE = ((2, 4000, 3, 64, 33), (3, 4000, 3, 64, 33), (5, 4000, 3, 64, 33))
RISKS = ((10_000, 70), (1_000_000, 1_000))  # (samples, groups)
CLASSES = 10
COPIED_BYTES = 1 << 30


def surgery_inputs(size: tuple[int, ...], device: str) -> tuple[Tensor, ...]:
    domains, number, *rest = size
    generator = torch.Generator(device).manual_seed(0)
    spectra = torch.randn(domains, number, *rest, 2, generator=generator, device=device)
    diversity = torch.randn(number, *rest, 2, generator=generator, device=device)
    present = torch.ones(domains, number, dtype=torch.bool, device=device)
    return spectra, diversity, present, torch.arange(number, device=device) % CLASSES


def surgery_call(inputs: tuple[Tensor, ...], pool: str, kernels: str) -> Callable[[], Surgery]:
    return lambda: spectral_surgery(*inputs, num_classes=CLASSES, pool=pool, kernels=kernels)


def surgery_bytes(inputs: tuple[Tensor, ...], pool: str) -> tuple[int, int]:
    """(bytes that have to move, bytes the kernel moves): a class's mean spectrum is parked and fetched again."""
    spectra, diversity = inputs[:2]
    agreement = diversity.nbytes // 2 // (1 if pool == "bin" else diversity.shape[1])
    least = spectra.nbytes + 3 * diversity.nbytes + agreement
    return least, least + (2 * diversity.nbytes if pool == "class" else 0)


def risk_call(samples: int, groups: int, device: str, kernels: str) -> Callable[[], tuple[Tensor, ...]]:
    generator = torch.Generator(device).manual_seed(0)
    losses = torch.rand(samples, generator=generator, device=device)
    of_group = torch.randint(groups, (samples,), generator=generator, device=device)
    return lambda: grouped_cvar(losses, of_group, num_groups=groups, tail=0.2, kernels=kernels)


def gpu_milliseconds(call: Callable[[], Any]) -> float:
    """The median time of one call, caches flushed in between."""
    from triton.testing import do_bench

    return float(do_bench(call, warmup=50, rep=300, return_mode="median"))


def cpu_milliseconds(call: Callable[[], Any], repeats: int = 30) -> float:
    call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def compared(name: str, size: tuple[int, ...], fused: Callable[[], Any], plain: Callable[[], Any]) -> dict[str, Any]:
    for one, other in zip(fused(), plain(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    fused_ms, plain_ms = gpu_milliseconds(fused), gpu_milliseconds(plain)
    return {
        "case": name,
        "size": size,
        "triton_ms": fused_ms,
        "eager_ms": plain_ms,
        "times_eager": plain_ms / fused_ms,
    }


def copy_bandwidth() -> float:
    """GB/s, read and written bytes together, of copying one large tensor on the device."""
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / gpu_milliseconds(lambda: target.copy_(source)) / 1e6


def on_the_gpu() -> dict[str, Any]:
    copied = copy_bandwidth()
    results = []
    for size in (SMALL, *LARGE):
        inputs = surgery_inputs(size, "cuda")
        for pool in POOLS:
            entry = compared(
                f"spectral_surgery {pool}",
                size,
                surgery_call(inputs, pool, "triton"),
                surgery_call(inputs, pool, "torch"),
            )
            least, moved = surgery_bytes(inputs, pool)
            rate = least / entry["triton_ms"] / 1e6
            results.append(
                entry | {"bytes": least, "bytes_moved": moved, "gb_per_s": rate, "share_of_copy": rate / copied}
            )
    for samples, groups in RISKS:
        calls = [risk_call(samples, groups, "cuda", kernels) for kernels in ("triton", "torch")]
        results.append(compared("grouped_cvar", (samples, groups), *calls))
    return {
        "status": "run",
        "device": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "copy_gb_per_s": copied,
        "results": results,
    }


def on_the_cpu() -> dict[str, Any]:
    inputs = surgery_inputs(SMALL, "cpu")
    results = [
        {
            "case": f"spectral_surgery {pool}",
            "size": SMALL,
            "torch_ms": cpu_milliseconds(surgery_call(inputs, pool, "torch")),
        }
        for pool in POOLS
    ]
    samples, groups = RISKS[0]
    call = risk_call(samples, groups, "cpu", "torch")
    results.append({"case": "grouped_cvar", "size": RISKS[0], "torch_ms": cpu_milliseconds(call)})
    return {
        "device": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "results": results,
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda or "none"}
    try:
        return found | {"triton": version("triton")}
    except PackageNotFoundError:
        return found | {"triton": "not installed"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, help="write the JSON there instead of to standard output")
    parser.add_argument("--note", help="the circumstances of this run, kept in the JSON")
    options = parser.parse_args(arguments)
    out: Path | None = options.out
    runs = status()
    document = {
        "schema": "dgdd.benchmark.kernels/1",
        "versions": versions(),
        "note": options.note,
        "cuda": on_the_gpu() if runs.kernels == "triton" else {"status": "not run", "reason": runs.reason},
        "cpu": on_the_cpu(),
    }
    text = json.dumps(document, indent=2)
    if out is None:
        print(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
