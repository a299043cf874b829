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
from dgdd_cli.errors import DataError, GateFailed, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from dgdd_cli.bundle.read import Bundle


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
    settings = merge(parse_assignments(assignments or ()), {"epochs": epochs})
    protocol = validate(Protocol, settings, origin="the protocol")

    from dgdd_cli.augment import for_dataset, parse
    from dgdd_cli.bundle.read import load_bundle
    from dgdd_cli.data.hold_out import missing_classes
    from dgdd_cli.data.load import locate, read, resolve_domain
    from dgdd_cli.engine.device import choose_device
    from dgdd_cli.engine.memory import keep_freed_memory
    from dgdd_cli.errors import UnknownName
    from dgdd_cli.evaluation.baselines import check_baselines
    from dgdd_cli.evaluation.compare import compare
    from dgdd_cli.evaluation.contestants import (
        baseline_contestant,
        bundle_contestant,
        bundle_normalisation,
        check_classes,
    )
    from dgdd_cli.evaluation.record import gate_failures, record, summarise
    from dgdd_cli.networks import NETWORKS

    networks = _list(network) or ["convnet"]
    for name in networks:
        if name not in NETWORKS:
            raise UnknownName("network", name, NETWORKS)
    baselines = _list(baseline)
    check_baselines(baselines)
    chosen = choose_device(device or "auto")
    keep_freed_memory()
    loaded = [load_bundle(path.expanduser()) for path in bundles]
    located = locate(dataset or _dataset_of(loaded), data_dir=data)
    size = _image_size(loaded)
    targets = [resolve_domain(located, name) for name in _list(target)] or _targets_of(loaded)
    protocol = protocol.model_copy(update={"augment": for_dataset(protocol.augment, located.name)})
    parse(protocol.augment)

    with output.progress() as report:

        def load(domains: tuple[str, ...]) -> Any:
            return read(
                located,
                image_size=size,
                domains=domains,
                skip_corrupt=skip_corrupt,
                cache_dir=cache_folder(cache_dir),
                offline=offline,
                progress=report,
            )

        tests = {name: load((name,)) for name in dict.fromkeys(targets)}
        contestants = [bundle_contestant(bundle, protocol) for bundle in loaded]
        for bundle in loaded:
            check_classes(bundle, next(iter(tests.values())).class_names, located.name)
        for name, test in tests.items():
            for line in test.notes:
                output.warn(line)
            if missing := missing_classes(test):
                message = f"the target {name!r} has no image of: {', '.join(missing)}"
                if not allow_missing_classes:
                    raise DataError(message, hint="--allow-missing-classes leaves these classes out of the figures")
                output.warn(message)
        seen = set()
        for bundle in loaded if baselines else []:
            budget = (bundle.manifest.domains, bundle.manifest.images.ipc)
            if budget in seen:
                continue
            seen.add(budget)
            source = load(bundle.manifest.domains)
            if source.fingerprint() != bundle.manifest.source.fingerprint:
                output.warn(f"{bundle.path} was distilled from another copy of {located.name} than the baselines use")
            contestants += [
                baseline_contestant(
                    name,
                    source,
                    ipc=bundle.manifest.images.ipc,
                    seed=seed or 0,
                    normalisation=bundle_normalisation(bundle),
                    protocol=protocol,
                )
                for name in baselines
            ]
        results = compare(
            contestants,
            tests,
            networks=networks,
            repeats=repeats,
            protocol=protocol,
            seed=seed or 0,
            device=chosen.device,
            progress=report,
        )
    records = [record(result, tests[result.target]) for result in results]
    failures = gate_failures(records, min_accuracy=min_accuracy, max_gap=max_gap)
    document = {
        "schema": "dgdd.evaluate/1",
        "dataset": located.name,
        "image_size": size,
        "protocol": protocol.model_dump(mode="json"),
        "repeats": repeats,
        "seed": seed or 0,
        "device": {"type": chosen.device.type, "name": chosen.name, "reason": chosen.reason},
        "results": records,
        "summary": summarise(records),
        "gate_failures": failures,
    }
    ours = [entry["accuracy"]["mean"] for entry in records if entry["kind"] == "bundle"]
    output.result(document, human=_table(document), quiet=f"{sum(ours) / len(ours):.4f}")
    if failures:
        raise GateFailed("; ".join(failures))


def _list(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _dataset_of(bundles: list[Bundle]) -> str:
    from dgdd_cli.data.catalog import entry_for

    names = {bundle.manifest.source.dataset for bundle in bundles}
    if len(names) > 1:
        raise UsageError(f"the bundles come from several datasets: {', '.join(sorted(names))}", hint="--dataset NAME")
    (name,) = names
    if entry_for(name) is None:  # a bundle never holds the path of somebody's folder
        raise UsageError(f"{name!r} is a folder set: say where it lies", hint=f"--dataset path/to/{name}")
    return name


def _image_size(bundles: list[Bundle]) -> int:
    sizes = {(bundle.manifest.images.height, bundle.manifest.images.width) for bundle in bundles}
    if len(sizes) > 1:
        raise UsageError("the bundles have images of several sizes", hint="evaluate them in separate calls")
    height, width = sizes.pop()
    if height != width:
        raise DataError(f"images of {height} x {width} pixels: only square ones can be evaluated")
    return height


def _targets_of(bundles: list[Bundle]) -> list[str]:
    targets = [bundle.manifest.target for bundle in bundles]
    if None in targets:
        raise UsageError("a bundle holds no domain out: say what to test on", hint="--target DOMAIN")
    return [name for name in targets if name is not None]


def _table(document: dict[str, Any]) -> Table:
    from rich.table import Table

    from dgdd_cli.cli.output import cell

    protocol = document["protocol"]
    caption = (
        f"{document['dataset']} at {document['image_size']} px; protocol {protocol['name']}: "
        f"{protocol['epochs']} epochs (whole: {protocol['whole_epochs']}), batch {protocol['batch']}, "
        f"SGD {protocol['rate']:g}, {protocol['augment']}, {protocol['precision']}, "
        f"score of the {protocol['selection']} epoch; "
        f"mean ± std over {document['repeats']} repeats"
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
