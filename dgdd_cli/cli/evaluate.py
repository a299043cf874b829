"""`dgdd evaluate`: bundles in, accuracies on targets out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgdd_cli.cli.complete import complete_dataset
from dgdd_cli.cli.options import (
    BUDGET,
    DATA,
    METHOD,
    OUTPUT,
    CacheOption,
    DataOption,
    DebugOption,
    DeviceOption,
    JsonOption,
    OfflineOption,
    ProgressOption,
    QuietOption,
    SeedOption,
    SkipCorruptOption,
    cache_folder,
    output_from,
)
from dgdd_cli.errors import GateFailed

if TYPE_CHECKING:
    from rich.table import Table


def evaluate(
    bundles: Annotated[
        list[Path], typer.Argument(help="One or more bundles.", metavar="BUNDLE...", show_default=False)
    ],
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            envvar="DGDD_TARGET",
            help="Domains to test on, with commas; default: the bundle's own target.",
            rich_help_panel=DATA,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            envvar="DGDD_DATASET",
            help="The dataset to test on; default: the one that the bundle names.",
            autocompletion=complete_dataset,
            rich_help_panel=DATA,
        ),
    ] = None,
    data: DataOption = None,
    skip_corrupt: SkipCorruptOption = False,
    allow_missing_classes: Annotated[
        bool,
        typer.Option(
            "--allow-missing-classes", help="Accept a target in which a class has no image.", rich_help_panel=DATA
        ),
    ] = False,
    offline: OfflineOption = False,
    network: Annotated[
        str | None,
        typer.Option(
            "--network", envvar="DGDD_NETWORK", help="convnet, resnet18; several with commas.", rich_help_panel=METHOD
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            envvar="DGDD_BASELINE",
            help="random, balanced-random, whole; several with commas.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    trainer: Annotated[
        str | None,
        typer.Option(
            "--trainer",
            envvar="DGDD_TRAINER",
            help="Loss of a batch: erm (default), groupdro, cvar, mixup, coral, mixstyle; settings by --set, "
            "e.g. cvar.tail=0.2.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any key of the protocol, e.g. rate=0.02.", rich_help_panel=METHOD
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", envvar="DGDD_EPOCHS", help="Training epochs.", rich_help_panel=BUDGET)
    ] = None,
    repeats: Annotated[
        int,
        typer.Option("--repeats", envvar="DGDD_REPEATS", min=1, help="Trainings per bundle.", rich_help_panel=BUDGET),
    ] = 5,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            "--min-accuracy", min=0, max=1, help="Gate: exit 4 if a bundle's mean is below.", rich_help_panel=OUTPUT
        ),
    ] = None,
    max_gap: Annotated[
        float | None,
        typer.Option(
            "--max-gap",
            min=0,
            help="Gate: exit 4 if in-domain minus unseen accuracy is above (evaluate both kinds of target).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    cache_dir: CacheOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    progress: ProgressOption = "auto",
    debug: DebugOption = False,
) -> None:
    """Train on distilled sets and test on domains: accuracy with its protocol, spread, worst class and calibration."""
    from dgdd_cli.config import Protocol, merge, parse_assignments, validate

    output = output_from(json, quiet, progress, debug)
    settings = merge(parse_assignments(assignments or ()), {"epochs": epochs, "trainer": trainer})
    protocol = validate(Protocol, settings, origin="the protocol")

    from dgdd_cli.data.load import Reading
    from dgdd_cli.engine.device import choose_device
    from dgdd_cli.engine.memory import keep_freed_memory
    from dgdd_cli.evaluation.record import gate_failures, headline
    from dgdd_cli.evaluation.run import Request, evaluate_bundles

    chosen = choose_device(device or "auto")
    keep_freed_memory()
    request = Request(
        bundles=[path.expanduser() for path in bundles],
        protocol=protocol,
        dataset=dataset,
        data_dir=data,
        targets=_list(target),
        networks=_list(network) or ["convnet"],
        baselines=_list(baseline),
        repeats=repeats,
        seed=seed or 0,
        allow_missing_classes=allow_missing_classes,
        reading=Reading(skip_corrupt, offline, cache_folder(cache_dir)),
    )
    with output.progress() as report:
        document = evaluate_bundles(request, chosen=chosen, progress=report, warn=output.warn)
    failures = gate_failures(document["results"], min_accuracy=min_accuracy, max_gap=max_gap)
    number = f"{headline(document['results']):.4f}"
    output.result(document | {"gate_failures": failures}, human=_table(document), quiet=number)
    if failures:
        raise GateFailed("; ".join(failures))


def _list(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _trainer(protocol: dict[str, Any]) -> str:
    settings = ", ".join(f"{key} {value:g}" for key, value in protocol.get(protocol["trainer"], {}).items())
    return protocol["trainer"] + (f" ({settings})" if settings else "")


def _table(document: dict[str, Any]) -> Table:
    from rich.table import Table

    from dgdd_cli.cli.output import cell

    protocol = document["protocol"]
    caption = (
        f"{document['dataset']} at {document['image_size']} px; protocol {protocol['name']}: "
        f"{protocol['epochs']} epochs (whole: {protocol['whole_epochs']}), batch {protocol['batch']}, "
        f"SGD {protocol['rate']:g}, trainer {_trainer(protocol)}, {protocol['augment']}, {protocol['precision']}, "
        f"score of the {protocol['selection']} epoch; "
        f"mean ± std over {document['repeats']} trainings (of a baseline: each on newly drawn images)"
    )
    table = Table(caption=caption, caption_justify="left")
    for heading in ("training set", "method", "target", "", "network"):
        table.add_column(heading, overflow="fold")
    for heading in ("images", "accuracy %", "worst class %", "ECE %"):
        table.add_column(heading, justify="right")
    for entry in document["results"]:
        score, worst = entry["accuracy"], entry["worst_class"]
        std = "" if score["std"] is None else f" ± {100 * score['std']:.1f}"
        table.add_row(
            cell(entry["name"]),
            cell(entry["method"]),
            cell(entry["target"]),
            entry["setting"],
            entry["network"],
            str(entry["training_images"]),
            f"{100 * score['mean']:.1f}{std}",
            cell(f"{100 * worst['accuracy']:.1f} {worst['class']} (n={worst['images']})"),
            f"{100 * entry['ece']['mean']:.1f}",
        )
    return table
