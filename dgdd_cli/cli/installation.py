"""What this installation consists of and what it can use: versions, devices, kernels, datasets, methods."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from dgdd_cli import __version__
from dgdd_cli.cli.output import cell
from dgdd_cli.errors import DataError
from dgdd_cli.text import plural

_PACKAGES = (
    *("torch", "torchvision", "triton", "safetensors", "numpy", "pillow", "scikit-learn", "matplotlib"),
    *("typer", "rich", "pydantic", "huggingface-hub", "pyarrow"),
)


def describe_installation(data_dir: Path | None, cache: Path) -> dict[str, Any]:
    """The installation as JSON values; `data_dir` is where datasets are looked for."""
    from dgdd_cli.config import recipe_names
    from dgdd_cli.core import status

    kernels = status()
    return {
        "packages": {"dgdd": __version__, "python": platform.python_version()}
        | {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "devices": _devices(),
        "kernels": {"kernels": kernels.kernels, "reason": kernels.reason},
        "data_dir": str(data_dir) if data_dir else None,
        "cache_dir": str(cache),
        "datasets": _datasets(data_dir),
        "methods": list(recipe_names()),
    }


def installation_table(found: Mapping[str, Any]) -> RenderableType:
    """The same for people."""
    versions = [f"{name} {version}" for name, version in found["packages"].items() if version]
    absent = [name for name, version in found["packages"].items() if not version]
    rows: list[tuple[str, object]] = [
        ("versions", ", ".join(versions)),
        ("not installed", ", ".join(absent) or "-"),
        ("platform", found["platform"]),
        *(("device", _device_words(device)) for device in found["devices"]),
        ("kernels", f"{found['kernels']['kernels']}: {found['kernels']['reason']}"),
        ("methods", ", ".join(found["methods"])),
        ("cache", found["cache_dir"]),
        ("data", found["data_dir"] or "no folder given: --data DIR or DGDD_DATA"),
    ]
    datasets = [(e["name"], f"{e['where']}; domains {', '.join(e['domains'])}") for e in found["datasets"]]
    return Group(facts_table("installation", rows), "", facts_table("datasets", datasets))


def facts_table(title: str, rows: Iterable[tuple[str, object]]) -> Table:
    """Names and values from anywhere, one a line, made safe for a terminal."""
    table = Table(title=cell(title, "bold"), title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(cell(name, "cyan"), cell(value))
    return table


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[dict[str, Any]]:
    import torch

    devices: list[dict[str, Any]] = [
        {"type": "cpu", "name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    ]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        devices.append(
            {
                "type": f"cuda:{index}",
                "name": properties.name,
                "memory_bytes": properties.total_memory,
                "capability": f"{properties.major}.{properties.minor}",
            }
        )
    if torch.backends.mps.is_available():
        devices.append({"type": "mps", "name": "Apple GPU"})
    return devices


def _device_words(device: Mapping[str, Any]) -> str:
    words = f"{device['type']}: {device['name']}"
    if "threads" in device:
        words += f", {plural(device['threads'], 'thread')}"
    if "memory_bytes" in device:
        words += f", {device['memory_bytes'] / 2**30:.0f} GiB, compute capability {device['capability']}"
    return words


def _datasets(data_dir: Path | None) -> list[dict[str, Any]]:
    """Every catalog set: whether it can be used as things are, where it is, its domains and default target."""
    from dgdd_cli.data.catalog import dataset_names, entry_for
    from dgdd_cli.data.load import locate

    found = []
    for name in dataset_names():
        entry = entry_for(name)
        if entry is None:
            continue
        try:
            located = locate(name, data_dir=data_dir)
        except DataError as error:
            place, where = "missing", error.message.removeprefix(f"{name} is ")
        else:
            if located.root is not None:
                place, where = "folder", str(located.root)
            elif entry.hub is not None:
                place, where = "hub", f"not here; fetched from the hub ({entry.hub}){_extra_words()}"
            else:
                place, where = "embedded", "embedded"
        found.append(
            {
                "name": name,
                "place": place,
                "where": where,
                "domains": list(entry.domain_names),
                "default_target": entry.default_target,
                "obtain": entry.obtain,
            }
        )
    return found


def _extra_words() -> str:
    missing = [name for name in ("huggingface-hub", "pyarrow") if _version(name) is None]
    return f" once the extra is installed: pip install 'dgdd[hub]' ({', '.join(missing)} missing)" if missing else ""
