"""`dgdd inspect`: what a bundle or a groups file holds and whether it is sound; without one, the installation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgdd_cli.cli.cache import clear_cache, complete_kind, report_cache
from dgdd_cli.cli.inspect_rows import Rows, bundle_rows, groups_rows, per_domain
from dgdd_cli.cli.installation import describe_installation, facts_table, installation_table
from dgdd_cli.cli.options import (
    DATA,
    OUTPUT,
    CacheOption,
    DataOption,
    DebugOption,
    ForceOption,
    JsonOption,
    ProgressOption,
    QuietOption,
    cache_folder,
    cache_from,
    output_from,
)
from dgdd_cli.cli.output import Output
from dgdd_cli.errors import DataError, GateFailed, UsageError
from dgdd_cli.storage.cache import Cache
from dgdd_cli.text import typeable

if TYPE_CHECKING:
    from dgdd_cli.bundle.read import Bundle
    from dgdd_cli.progress import Progress

SCHEMA = "dgdd.inspect/1"


def inspect(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE|GROUPS", help="A bundle or a groups file.", show_default=False),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Say what was checked; an invalid file exits with 4 instead of 3.")
    ] = False,
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", help="Write a picture, one row per class: grid.png.", rich_help_panel=OUTPUT),
    ] = None,
    stored: Annotated[
        bool,
        typer.Option(
            "--stored", help="Draw the images as they are stored, tiles side by side.", rich_help_panel=OUTPUT
        ),
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write a folder of PNGs that dataset loaders read.", rich_help_panel=OUTPUT),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            help="Check that a groups file was made for this dataset as it is now; exits with 3 if not.",
            rich_help_panel=DATA,
        ),
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Say what the cache folder holds, by kind.", rich_help_panel=DATA)
    ] = False,
    clear: Annotated[
        str | None,
        typer.Option(
            "--clear-cache",
            metavar="KIND",
            help="Delete what the cache folder holds of a kind: decoded, banks, groups or scores.",
            rich_help_panel=DATA,
            autocompletion=complete_kind,
        ),
    ] = None,
    force: ForceOption = False,
    data: DataOption = None,
    cache_dir: CacheOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    progress: ProgressOption = "auto",
    debug: DebugOption = False,
) -> None:
    """Describe a bundle or a groups file, check it, draw it, export it; without one, describe the installation."""
    output = output_from(json, quiet, progress, debug)
    if cache or clear is not None:
        if file or verify or gallery or export or dataset:
            raise UsageError("--cache and --clear-cache concern no file", hint="dgdd inspect --cache")
        if clear is None:
            report_cache(output, cache_from(cache_dir), SCHEMA)
        else:
            clear_cache(output, cache_from(cache_dir), clear, SCHEMA)
        return
    if stored and not gallery:
        raise UsageError("--stored says what --gallery draws", hint="dgdd inspect BUNDLE --gallery grid.png --stored")
    if file is None:
        if verify or gallery or export or dataset:
            raise UsageError(
                "--verify, --gallery, --export and --dataset need a file", hint="dgdd inspect bundle.safetensors"
            )
        _installation(output, data, cache_folder(cache_dir))
        return
    try:
        found = _read(file)
    except DataError as error:
        if not verify or not file.is_file():
            raise
        if output.mode == "json":
            refused = {"schema": SCHEMA, "kind": None, "path": str(file), "valid": False, "problem": error.message}
            output.result(refused, human="", quiet="")
        raise GateFailed(f"verification failed: {error.message}", hint=error.hint) from error
    if dataset:
        with output.progress() as report:
            _check_dataset(file, found, dataset, data, cache_from(cache_dir), report)
    made = _pictures(found, gallery, export, force, stored)
    document: dict[str, Any] = {"schema": SCHEMA, "kind": found.kind, "path": str(file), "valid": True, **found.summary}
    document |= {"checks": found.checks} if verify else {}
    document |= {name: str(path) for name, path in made.items()}
    rows = found.rows + [("checked", line) for line in found.checks if verify]
    rows += [(f"{name} written", path) for name, path in made.items()]
    output.result(
        document,
        human=facts_table(f"{found.kind} {file}", rows),
        quiet="\n".join(str(path) for path in made.values()) or found.id,
    )


def _installation(output: Output, data: Path | None, cache: Path) -> None:
    found = describe_installation(data, cache)
    document = {"schema": SCHEMA, "kind": "installation", **found}
    output.result(document, human=installation_table(found), quiet=str(found["packages"]["dgdd"]))


@dataclass(frozen=True)
class _Found:
    """A valid file: its part of the JSON document, its rows for people, what was checked, the bundle if it is one."""

    kind: str
    id: str
    summary: dict[str, Any]
    rows: Rows
    checks: list[str]
    bundle: Bundle | None = None


def _read(file: Path) -> _Found:
    from dgdd_cli.bundle import read
    from dgdd_cli.groups import file as groups
    from dgdd_cli.storage.container import kind_of

    if kind_of(file) == "groups":
        found = groups.read_groups(file)
        summary = {"manifest": found.manifest.document()}
        return _Found("groups", found.manifest.id, summary, groups_rows(found), groups.passed_checks(found))
    bundle = read.load_bundle(file)
    counts = per_domain(bundle)
    summary = {"manifest": bundle.manifest.document(), "images_per_domain": counts}
    rows = bundle_rows(bundle, counts)
    return _Found("bundle", bundle.manifest.id, summary, rows, read.passed_checks(bundle), bundle)


def _check_dataset(
    file: Path, found: _Found, dataset: str, data: Path | None, cache: Cache, progress: Progress
) -> None:
    from dgdd_cli.data.load import locate, read
    from dgdd_cli.groups.file import check_groups_match, read_groups

    if found.kind != "groups":
        raise UsageError("--dataset checks groups files", hint="dgdd evaluate BUNDLE --dataset NAME tests a bundle")
    groups = read_groups(file)
    located = locate(dataset, data_dir=data)
    names = [name for name in groups.manifest.domains if name in located.domain_names] or located.domain_names
    size = groups.manifest.image_size
    check_groups_match(groups, read(located, image_size=size, domains=names, cache=cache, progress=progress))
    found.checks.append(f"dataset: made for {located.name} as it is now")


def _pictures(found: _Found, gallery: Path | None, export: Path | None, force: bool, stored: bool) -> dict[str, Path]:
    """What was written, by option; every reason not to write is looked for before anything is written."""
    from dgdd_cli.bundle.export import check_export, export_folder
    from dgdd_cli.report.gallery import gallery as draw
    from dgdd_cli.report.gallery import save_png
    from dgdd_cli.storage.atomic import check_output

    bundle = found.bundle
    if bundle is None:
        if gallery or export:
            raise UsageError(
                f"a {found.kind} file holds no images", hint="--gallery and --export take a bundle: dgdd inspect BUNDLE"
            )
        return {}
    if gallery:
        if gallery.suffix.lower() != ".png":
            raise UsageError(
                f"{gallery} does not end in .png", hint=f"--gallery {typeable(gallery.with_suffix('.png'))}"
            )
        check_output(gallery, overwrite=force)
    if export:
        check_export(export, overwrite=force)
    made = {}
    if gallery:
        save_png(draw(bundle, stored=stored), gallery, force)
        made["gallery"] = gallery
    if export:
        made["export"] = export_folder(bundle, export, overwrite=force)
    return made
