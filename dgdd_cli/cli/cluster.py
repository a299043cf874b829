"""`dgdd cluster`: a dataset in, a groups file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dgdd_cli.cli.complete import complete_dataset
from dgdd_cli.cli.distill_result import skipped_files
from dgdd_cli.cli.options import (
    BUDGET,
    DATA,
    METHOD,
    OUTPUT,
    CacheOption,
    DataOption,
    DebugOption,
    ForceOption,
    ImageSizeOption,
    JsonOption,
    OfflineOption,
    ProgressOption,
    QuietOption,
    SeedOption,
    SkipCorruptOption,
    cache_from,
    output_from,
)
from dgdd_cli.errors import UsageError
from dgdd_cli.text import plural, typeable

if TYPE_CHECKING:
    from rich.console import Group

    from dgdd_cli.data.images import Images
    from dgdd_cli.groups.grouping import Grouping


def cluster(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A catalog name (digits, pacs ...) or a folder <domain>/<class>/<image>.",
            autocompletion=complete_dataset,
            show_default=False,
        ),
    ],
    groups: Annotated[
        str,
        typer.Option(
            "--groups",
            "-g",
            metavar="<int|auto>",
            envvar="DGDD_GROUPS",
            help="How many groups (with --per class: in each class); auto: by silhouette, 2 to 10.",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ],
    domains: Annotated[
        str | None,
        typer.Option(
            "--domains",
            metavar="<a,b>",
            help="Only these domains, e.g. the sources of a distillation. Default: all.",
            rich_help_panel=DATA,
        ),
    ] = None,
    data: DataOption = None,
    image_size: ImageSizeOption = None,
    skip_corrupt: SkipCorruptOption = False,
    offline: OfflineOption = False,
    features: Annotated[
        Literal["pixels", "spectrum", "convnet"],
        typer.Option(
            "--features",
            help="What is compared: pixels, power by spatial frequency, or features of a random network.",
            rich_help_panel=METHOD,
        ),
    ] = "pixels",
    per: Annotated[
        Literal["all", "class"],
        typer.Option("--per", help="Group all images, or each class by itself.", rich_help_panel=METHOD),
    ] = "all",
    minimum: Annotated[
        int | None,
        typer.Option(
            "--minimum",
            min=1,
            help="Merge groups with fewer images than this. Default: 1; with --per class 25 or 0.5 % of the class, "
            "if it has twice as many.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The groups file to write.", rich_help_panel=OUTPUT)] = Path(
        "groups.safetensors"
    ),
    force: ForceOption = False,
    seed: SeedOption = None,
    cache_dir: CacheOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    progress: ProgressOption = "auto",
    debug: DebugOption = False,
) -> None:
    """Split a dataset into K-means groups: the subpopulations that a robust method watches."""
    from dgdd_cli.storage.atomic import check_output

    output = output_from(json, quiet, progress, debug)
    number = _number(groups)
    out = out.expanduser()
    check_output(out, overwrite=force)

    from dgdd_cli.api.cluster import cluster_to_file
    from dgdd_cli.data.load import Reading
    from dgdd_cli.runtime.context import Context

    with output.progress() as report:
        done = cluster_to_file(
            Context(seed or 0, cache=cache_from(cache_dir), progress=report),
            dataset,
            out,
            groups=number,
            features=features,
            per=per,
            domains=domains,
            image_size=image_size,
            minimum=minimum,
            data=data,
            reading=Reading(skip_corrupt, offline),
            force=force,
        )
    images, found, written, manifest = done.images, done.found, done.path, done.manifest
    document = {
        "schema": "dgdd.cluster/1",
        "groups_file": str(written),
        "id": manifest.id,
        "dataset": images.name,
        "fingerprint": manifest.fingerprint,
        "domains": list(images.domain_names),
        "images": len(images),
        "skipped_images": len(images.skipped_files),
        **skipped_files(images.skipped_files),
        "image_size": images.image_size,
        "per": per,
        "features": found.features,
        "seed": seed or 0,
        "groups": _described(images, found),
        "silhouette": found.silhouette,
        "purity": {"class": found.purity_class, "domain": found.purity_domain},
        "notes": list(found.notes),
    }
    output.result(document, human=_report(document), quiet=str(written))
    output.hint(f"dgdd inspect {typeable(written)}")


def _number(groups: str) -> int | Literal["auto"]:
    if groups.strip().lower() == "auto":
        return "auto"
    try:
        number = int(groups)
    except ValueError:  # not digits, or thousands of them
        raise UsageError(f"--groups {groups[:40]!r} is neither a number nor auto", hint="--groups 10") from None
    if number < 1:
        raise UsageError(f"{number} groups are not possible", hint="--groups 10, or --groups auto")
    return number


def _described(images: Images, found: Grouping) -> list[dict[str, Any]]:
    """Size and most frequent class and domain of every group."""
    described = []
    for group, size in enumerate(found.sizes.tolist()):
        own: dict[str, Any] = {"group": group, "size": size}
        for what, names, of_image in (
            ("class", images.class_names, images.labels),
            ("domain", images.domain_names, images.domains),
        ):
            counts = of_image[found.assignments == group].bincount()
            own |= {what: names[int(counts.argmax())], f"{what}_share": int(counts.max()) / size}
        described.append(own)
    return described


def _report(document: dict[str, Any]) -> Group:
    from rich.console import Group

    from dgdd_cli.cli.fitted import Column, Fitted
    from dgdd_cli.cli.output import cell

    columns = [
        Column("group", figures=True),
        Column("images", figures=True),
        Column("most frequent class"),
        Column("of group", figures=True),
        Column("most frequent domain"),
        Column("of group", figures=True),
    ]
    rows = [
        [
            cell(value)
            for value in (
                row["group"],
                row["size"],
                row["class"],
                f"{row['class_share']:.0%}",
                row["domain"],
                f"{row['domain_share']:.0%}",
            )
        ]
        for row in document["groups"]
    ]
    silhouette, purity = document["silhouette"], document["purity"]
    said = "undefined (one group)" if silhouette is None else f"{silhouette:.3f}"
    summary = (
        f"{document['groups_file']}: {plural(len(document['groups']), 'group')} of "
        f"{plural(document['images'], 'image')} of {document['dataset']} "
        f"({', '.join(document['domains'])}), {document['features']}"
    )
    figures = f"silhouette {said}; purity against classes {purity['class']:.3f}, domains {purity['domain']:.3f}"
    return Group(Fitted(columns, rows), cell(summary), cell(figures))
