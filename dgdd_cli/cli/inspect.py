"""`dgdd inspect`: what a bundle or a groups file holds and whether it is sound; without one, the installation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from dgdd_cli.text import plural, typeable

if TYPE_CHECKING:
    from dgdd_cli.bundle.read import Bundle
    from dgdd_cli.groups.file import GroupsFile
    from dgdd_cli.progress import Progress

SCHEMA = "dgdd.inspect/1"

Rows = list[tuple[str, object]]  # name and value, for people


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
    made = _pictures(found, gallery, export, force)
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
        return _Found("groups", found.manifest.id, summary, _groups_rows(found), groups.passed_checks(found))
    bundle = read.load_bundle(file)
    per_domain = _per_domain(bundle)
    summary = {"manifest": bundle.manifest.document(), "images_per_domain": per_domain}
    rows = _bundle_rows(bundle, per_domain)
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


def _pictures(found: _Found, gallery: Path | None, export: Path | None, force: bool) -> dict[str, Path]:
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
        save_png(draw(bundle), gallery, force)
        made["gallery"] = gallery
    if export:
        made["export"] = export_folder(bundle, export, overwrite=force)
    return made


def _per_domain(bundle: Bundle) -> dict[str, int]:
    names = [*bundle.manifest.domains, "mixed"]
    counts = dict.fromkeys(names, 0)
    for domain in bundle.domains.tolist():
        counts[names[domain]] += 1
    if "mixed" not in bundle.manifest.domains and not counts["mixed"]:
        del counts["mixed"]
    return counts


def _bundle_rows(bundle: Bundle, per_domain: Mapping[str, int]) -> Rows:
    from dgdd_cli.bundle.decoding import synthesis_in_words

    m = bundle.manifest
    counted = sum(sum(classes.values()) for classes in m.source.counts.values())
    return [
        ("id", m.id),
        ("method", m.method.name),
        *((f"  {key}", value) for key, value in _flat(m.method.settings)),
        ("images", f"{m.images.count}, {m.images.ipc} per class, {m.images.height} x {m.images.width} pixels"),
        ("stored as", synthesis_in_words(m) or "pixels"),
        ("classes", f"{len(m.classes)}: {_listed(m.classes)}"),
        ("sources", ", ".join(f"{name} ({plural(count, 'image')})" for name, count in per_domain.items())),
        ("target", m.target or "none held out"),
        ("seed", m.seed),
        ("steps", m.steps),
        ("normalise", f"mean {_figures(m.normalise.mean)}, std {_figures(m.normalise.std)} ({m.normalise.origin})"),
        ("soft labels", "no" if bundle.soft_labels is None else bundle.labelled().labels.kind),
        ("groups", "yes" if bundle.groups is not None else "no"),
        ("software", ", ".join(f"{name} {version}" for name, version in m.software.items())),
        ("device", f"{m.device.type} ({m.device.name})"),
        ("dataset", f"{m.source.dataset}, {plural(counted, 'image')}" if counted else m.source.dataset),
        ("fingerprint", m.source.fingerprint),
        ("licence", m.source.licence),
        ("citation", m.source.citation),
    ]


def _groups_rows(file: GroupsFile) -> Rows:
    m = file.manifest
    return [
        ("id", m.id),
        ("dataset", f"{m.dataset}, {plural(len(file), 'image')} at {m.image_size} pixels"),
        ("groups", f"{m.groups}, found " + ("within each class" if m.per == "class" else "over the whole set")),
        ("sizes", f"{min(m.sizes):,} to {max(m.sizes):,}: {_listed([f'{size:,}' for size in m.sizes])}"),
        ("features", f"{m.features}, {plural(file.centroids.shape[1], 'number')} an image"),
        ("silhouette", "not measured" if m.silhouette is None else f"{m.silhouette:.3f}"),
        ("purity", f"{m.purity_class:.3f} by class, {m.purity_domain:.3f} by domain"),
        ("classes", f"{len(m.classes)}: {_listed(m.classes)}"),
        ("domains", ", ".join(m.domains)),
        ("seed", m.seed),
        ("software", ", ".join(f"{name} {version}" for name, version in m.software.items())),
        ("fingerprint", m.fingerprint),
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as dotted keys."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "none" if value is None else value


def _listed(names: tuple[str, ...] | list[str], most: int = 20) -> str:
    more = f" ... and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _figures(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
