"""`dgdd distill`: a dataset in, a bundle out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dgdd_cli.cli.complete import complete_dataset, complete_method
from dgdd_cli.cli.options import (
    BUDGET,
    DATA,
    METHOD,
    OUTPUT,
    RUNTIME,
    CacheOption,
    CodecOption,
    DataOption,
    DebugOption,
    DeviceOption,
    FactorOption,
    ForceOption,
    ImageSizeOption,
    JsonOption,
    KernelsOption,
    OfflineOption,
    ProgressOption,
    QuietOption,
    SeedOption,
    SkipCorruptOption,
    ValidateOption,
    cache_from,
    output_from,
)


def distill(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="A catalog name (digits, pacs ...) or a folder <domain>/<class>/<image>.",
            autocompletion=complete_dataset,
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            envvar="DGDD_TARGET",
            help="The domain to leave out, or 'none'. Default: the dataset's own.",
            rich_help_panel=DATA,
        ),
    ] = None,
    domains: Annotated[
        Path | None,
        typer.Option(
            "--domains",
            envvar="DGDD_DOMAINS",
            help="A file of dgdd cluster whose groups serve as source domains, where the true ones are not known.",
            rich_help_panel=DATA,
        ),
    ] = None,
    validate: ValidateOption = None,
    image_size: ImageSizeOption = None,
    skip_corrupt: SkipCorruptOption = False,
    offline: OfflineOption = False,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            envvar="DGDD_METHOD",
            help="The recipe: sgs, dm, dm-balanced, mmd, dc, dsa, rdd, kmeans, balanced-random, random.",
            autocompletion=complete_method,
            rich_help_panel=METHOD,
        ),
    ] = None,
    probes: Annotated[
        str | None,
        typer.Option(
            "--probes", envvar="DGDD_PROBES", help="'fresh' (as published) or 'bank:K'.", rich_help_panel=METHOD
        ),
    ] = None,
    risk: Annotated[
        str | None,
        typer.Option(
            "--risk",
            envvar="DGDD_RISK",
            metavar="<mean|cvar|cvar-within|mean-max|group-dro>",
            help="How the losses of the groups become one, instead of their average.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            envvar="DGDD_RISK_GROUPS",
            metavar="<domain|class-domain|kmeans:K|FILE>",
            help="What the risk is about; kmeans:K: clusters of each class by pixels; a FILE is one of dgdd cluster.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    cvar_tail: Annotated[
        float | None,
        typer.Option(
            "--cvar-tail",
            envvar="DGDD_CVAR_TAIL",
            help="The worst share that CVaR averages over, in (0, 1]; 1 is the mean.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    factor: FactorOption = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any key of the recipe, e.g. surgery.diversity=0.5; may be repeated.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", envvar="DGDD_CONFIG", help="A TOML file as --print-config prints it.", rich_help_panel=METHOD
        ),
    ] = None,
    print_config: Annotated[
        bool,
        typer.Option("--print-config", help="Print the resolved configuration and stop.", rich_help_panel=METHOD),
    ] = False,
    ipc: Annotated[
        int | None,
        typer.Option("--ipc", envvar="DGDD_IPC", help="Synthetic images per class.", rich_help_panel=BUDGET),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", envvar="DGDD_STEPS", help="Distillation steps.", rich_help_panel=BUDGET)
    ] = None,
    codec: CodecOption = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", envvar="DGDD_OUT", help="The bundle to write.", rich_help_panel=OUTPUT),
    ] = Path("bundle.safetensors"),
    force: ForceOption = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue an interrupted run; a finished one stays.", rich_help_panel=RUNTIME),
    ] = False,
    checkpoint_seconds: Annotated[
        float,
        typer.Option(
            "--checkpoint-every", min=0, help="Seconds between checkpoints (0: every step).", rich_help_panel=RUNTIME
        ),
    ] = 30.0,
    seed: SeedOption = None,
    device: DeviceOption = None,
    kernels: KernelsOption = "auto",
    cache_dir: CacheOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    progress: ProgressOption = "auto",
    debug: DebugOption = False,
) -> None:
    """Distil a multi-domain image set into a few synthetic images per class, for a domain nobody saw."""
    from dgdd_cli.api.distill import flags_of, plan_distillation
    from dgdd_cli.config import to_toml
    from dgdd_cli.storage.atomic import check_output

    output = output_from(json, quiet, progress, debug)
    flags = flags_of(
        dataset=dataset,
        method=method,
        ipc=ipc,
        target=target,
        image_size=image_size,
        seed=seed,
        domains=domains,
        steps=steps,
        probes=probes,
        risk=risk,
        groups=groups,
        cvar_tail=cvar_tail,
        factor=factor,
        codec=codec,
        validate=validate,
    )
    out = out.expanduser()
    if not print_config:
        check_output(out, overwrite=force or resume)
    planned = plan_distillation(flags, data=data, file=config, assigned=assignments or ())
    run, located, sources = planned.run, planned.located, planned.sources
    if print_config:
        typer.echo(to_toml(run), nl=False)
        return

    from dgdd_cli.cli.distill_result import next_command, result_document, result_line
    from dgdd_cli.data.hold_out import target_of
    from dgdd_cli.data.load import Reading
    from dgdd_cli.engine.run import distil_to_bundle
    from dgdd_cli.runtime.context import Context
    from dgdd_cli.runtime.device import choose_device
    from dgdd_cli.runtime.memory import keep_freed_memory, peak_memory_bytes
    from dgdd_cli.runtime.ranks import device_of_rank, join

    chosen = choose_device(device_of_rank(device or "auto", os.environ))
    keep_freed_memory()
    with join(os.environ, chosen.device) as ranks, output.progress(leads=ranks.leads) as report:
        context = Context(run.seed, chosen, kernels, ranks, cache_from(cache_dir), report)
        finished = distil_to_bundle(
            context,
            run,
            located,
            sources,
            out,
            reading=Reading(skip_corrupt, offline),
            overwrite=force,
            resume=resume,
            keep_seconds=checkpoint_seconds,
        )
    if finished.manifest is not None:
        skipped, peak = finished.source.skipped_files, peak_memory_bytes()
        written, made = finished.path, finished.manifest
        document = result_document(run, located.name, written, made, chosen, skipped=skipped, peak=peak)
        output.result(document, human=result_line(document), quiet=str(written))
        test_on = target_of(made.domains[-1]) if made.target is None else None
        output.hint(next_command(written, data, run.dataset if located.entry is None else None, test_on))
