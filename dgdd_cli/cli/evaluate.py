"""`dgdd evaluate`: bundles in, accuracies on targets out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    cache_from,
    fraction,
    output_from,
)
from dgdd_cli.errors import GateFailed


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
            help="Domains to test on, with commas; default, or 'none': the bundle's own target; 'validation': what "
            "the bundles left out of their sources.",
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
    allow_seen: Annotated[
        bool,
        typer.Option(
            "--allow-seen",
            help="Accept a target whose images are, under another name, those of a source: reported as in-domain.",
            rich_help_panel=DATA,
        ),
    ] = False,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            envvar="DGDD_TEST_GROUPS",
            metavar="SPEC",
            help="Accuracy for each group of test images: domain, class-domain, kmeans:K (clusters of each target by "
            "pixels, kept for later calls), or a file of `dgdd cluster` on the targets.",
            rich_help_panel=DATA,
        ),
    ] = None,
    corruptions: Annotated[
        str | None,
        typer.Option(
            "--corruptions",
            envvar="DGDD_CORRUPTIONS",
            help="Test on shifted copies too: noise (variance 0.005), blur (2 px at 32 px), invert; several with "
            "commas. They are in no mean and no gate.",
            rich_help_panel=DATA,
        ),
    ] = None,
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
            help="random, balanced-random, kmeans, random-jpeg, whole, whole-balanced; several with commas.",
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
    retrain_baselines: Annotated[
        bool,
        typer.Option(
            "--retrain-baselines",
            help="Train baselines anew where the cache folder has their scores.",
            rich_help_panel=BUDGET,
        ),
    ] = False,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            "--min-accuracy",
            envvar="DGDD_MIN_ACCURACY",
            callback=fraction,
            metavar="FRACTION",
            help="Gate: exit 4 if a bundle's mean is below, e.g. 0.4.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    max_gap: Annotated[
        float | None,
        typer.Option(
            "--max-gap",
            envvar="DGDD_MAX_GAP",
            callback=fraction,
            metavar="FRACTION",
            help="Gate: exit 4 if in-domain minus unseen accuracy is above, e.g. 0.05 (evaluate both kinds of target).",
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
    from dgdd_cli.config import merge, parse_assignments

    output = output_from(json, quiet, progress, debug)
    settings = merge(parse_assignments(assignments or ()), {"epochs": epochs, "trainer": trainer})

    from dgdd_cli.cli.evaluate_table import results_table
    from dgdd_cli.data.load import Reading
    from dgdd_cli.evaluation.record import gate_failures, headline
    from dgdd_cli.evaluation.run import Request, evaluate_bundles
    from dgdd_cli.evaluation.trainers import protocol_of
    from dgdd_cli.runtime.context import Context
    from dgdd_cli.runtime.device import choose_device
    from dgdd_cli.runtime.memory import keep_freed_memory

    protocol = protocol_of(**settings)
    chosen = choose_device(device or "auto")
    keep_freed_memory()
    request = Request(
        bundles=[path.expanduser() for path in bundles],
        protocol=protocol,
        dataset=dataset,
        data_dir=data,
        targets=[target] if target else [],
        networks=_list(network) or ["convnet"],
        baselines=_list(baseline),
        groups=groups,
        corruptions=_list(corruptions),
        repeats=repeats,
        allow_missing_classes=allow_missing_classes,
        allow_seen=allow_seen,
        retrain_baselines=retrain_baselines,
        reading=Reading(skip_corrupt, offline),
    )
    with output.progress() as report:
        context = Context(seed or 0, chosen, cache=cache_from(cache_dir), progress=report)
        document = evaluate_bundles(context, request)
    failures = gate_failures(document["results"], min_accuracy=min_accuracy, max_gap=max_gap, allow_seen=allow_seen)
    number = f"{headline(document['results']):.4f}"
    output.result(document | {"gate_failures": failures}, human=results_table(document), quiet=number)
    if failures:
        raise GateFailed("; ".join(failures))


def _list(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]
