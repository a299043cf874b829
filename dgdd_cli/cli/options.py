"""The options that several verbs share, each defined once, and the folders and Output they lead to.

A value is None when neither the flag nor its DGDD_* variable was given, so that a configuration file or a recipe can
still decide.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from dgdd_cli.cli.output import Output, ProgressStyle
from dgdd_cli.errors import UsageError
from dgdd_cli.storage.cache import Cache

DATA, METHOD, BUDGET, RUNTIME, OUTPUT = "Data", "Method", "Budget", "Runtime", "Output"  # the panels of --help


def fraction(parameter: typer.CallbackParam, value: float | None) -> float | None:
    """The callback of a gate: UsageError, with the fraction that was meant, for what is not within [0, 1]."""
    if value is None or 0 <= value <= 1:
        return value
    flag = parameter.opts[0]
    meant = f": {value / 100:g}?" if 1 < value <= 100 else ""
    raise UsageError(
        f"{flag} is a fraction from 0 to 1, not {value:g}{meant}",
        hint=f"{flag} {value / 100:g}" if meant else f"{flag} 0.1",
    )


def _home_expanded(path: Path | None) -> Path | None:
    return path.expanduser() if path else None


JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=OUTPUT)]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only the path or the number on stdout.", rich_help_panel=OUTPUT)
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite existing files.", rich_help_panel=OUTPUT)]
ProgressOption = Annotated[
    ProgressStyle,
    typer.Option(
        "--progress",
        envvar="DGDD_PROGRESS",
        help="A bar on a terminal and lines elsewhere (auto), or always one of them, or none.",
        rich_help_panel=OUTPUT,
    ),
]
DebugOption = Annotated[
    bool, typer.Option("--debug", envvar="DGDD_DEBUG", help="Show tracebacks.", rich_help_panel=RUNTIME)
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="DGDD_DATA",
        callback=_home_expanded,
        help="Folder that holds the datasets, each in its own (DIR/pacs, DIR/vlcs ...).",
        rich_help_panel=DATA,
    ),
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        envvar="DGDD_IMAGE_SIZE",
        min=8,
        max=1024,
        help="Side in pixels to which every image is brought.",
        rich_help_panel=DATA,
    ),
]
SkipCorruptOption = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave unreadable images out and count them.", rich_help_panel=DATA)
]
OfflineOption = Annotated[
    bool,
    typer.Option(
        "--offline", envvar=["DGDD_OFFLINE", "HF_HUB_OFFLINE"], help="Never use the network.", rich_help_panel=DATA
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        envvar="DGDD_CACHE",
        callback=_home_expanded,
        help="Folder for decoded and downloaded data, probe banks, groups, and scores of baselines.",
        rich_help_panel=RUNTIME,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed", envvar="DGDD_SEED", min=0, help="Every random draw follows from it.", rich_help_panel=RUNTIME
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", envvar="DGDD_DEVICE", help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=RUNTIME),
]

KernelsOption = Annotated[
    str,
    typer.Option(
        "--kernels",
        envvar="DGDD_KERNELS",
        metavar="<auto|triton|torch>",
        help="Surgery and risks in Triton or in plain torch; `dgdd inspect` says which is chosen and why.",
        rich_help_panel=RUNTIME,
    ),
]


def output_from(json: bool, quiet: bool, progress: ProgressStyle, debug: bool) -> Output:
    """The Output that the options ask for. Raises UsageError when they contradict each other."""
    if json and quiet:
        raise UsageError("--json and --quiet exclude each other", hint="give one of them")
    return Output(mode="json" if json else "quiet" if quiet else "human", style=progress, debug=debug)


ValidateOption = Annotated[
    float | None,
    typer.Option(
        "--validate",
        envvar="DGDD_VALIDATE",
        help="The share of every source cell to leave out, for evaluate --target validation.",
        rich_help_panel=DATA,
    ),
]
FactorOption = Annotated[
    int | None,
    typer.Option(
        "--factor",
        envvar="DGDD_FACTOR",
        help="Tiles: f x f training images in each stored one; 1 is one.",
        rich_help_panel=METHOD,
    ),
]
CodecOption = Annotated[
    str | None,
    typer.Option(
        "--codec",
        envvar="DGDD_CODEC",
        metavar="<raw|png|webp:Q>",
        help="What the stored images are encoded by; Q: a quality from 1 to 100.",
        rich_help_panel=OUTPUT,
    ),
]


def cache_from(given: Path | None) -> Cache:
    """The cache in the folder that was given, else in the usual one."""
    return Cache(cache_folder(given))


def cache_folder(given: Path | None) -> Path:
    """Where decoded and downloaded data is kept: what was given, else under XDG_CACHE_HOME, else the platform's."""
    if given:
        return given
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return Path(xdg) / "dgdd" if os.path.isabs(xdg) else platformdirs.user_cache_path("dgdd", appauthor=False)
