"""The table that `dgdd evaluate` shows to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dgdd_cli.cli.fitted import Column, Fitted
from dgdd_cli.cli.output import cell
from dgdd_cli.text import plural

if TYPE_CHECKING:
    from rich.text import Text


def results_table(document: dict[str, Any]) -> Fitted:
    """One row for each training set, network and target; columns on groups where the document has groups."""
    grouped = "groups" in document
    clustered = grouped and "cluster_min" in document["results"][0]
    figures = ["images", "bytes", "accuracy %", "balanced %", "worst class %"]
    figures += ["worst group %", "mean of groups %"] if grouped else []
    figures += ["cluster-min %"] if clustered else []
    columns = [Column(heading) for heading in ("training set", "method", "target", "", "network")]
    columns += [Column(heading, figures=True) for heading in (*figures, "ECE %")]
    rows = [_row(entry, grouped=grouped, clustered=clustered) for entry in document["results"]]
    return Fitted(columns, rows, _caption(document))


def _row(entry: dict[str, Any], *, grouped: bool, clustered: bool) -> list[Text]:
    worst, shared = entry["worst_class"], entry["seen"]["images"] or 0
    row = [
        entry["name"],
        entry["method"],
        entry["target"] + (f" ({entry['corruption']})" if entry["corruption"] else ""),
        entry["setting"].replace("shared images", plural(shared, "shared image")),
        entry["network"],
        _images(entry["training_images"], entry["stored_images"]),
        f"{entry['stored_bytes']:,}",
        _spread(entry["accuracy"]),
        _spread(entry["balanced_accuracy"]),
        f"{100 * worst['accuracy']:.1f} {worst['class']} (n={worst['images']})",
    ]
    row += [_group(entry["worst_group"]), _spread(entry["adjusted_accuracy"])] if grouped else []
    row += [_spread(entry["cluster_min"])] if clustered else []
    return [cell(value) for value in (*row, f"{100 * entry['ece']['mean']:.1f}")]


def _images(training: int, stored: int) -> str:
    return f"{training}" if training == stored else f"{training} in {stored}"


def _caption(document: dict[str, Any]) -> str:
    protocol = document["protocol"]
    return (
        f"{document['dataset']} at {document['image_size']} px; protocol {protocol['name']}: "
        f"{plural(protocol['epochs'], 'epoch')} (whole: {protocol['whole_epochs']}), batch {protocol['batch']}, "
        f"SGD {protocol['rate']:g}, trainer {_trainer(protocol)}, {protocol['augment']}, {protocol['precision']}, "
        f"score of the {protocol['selection']} epoch; "
        f"mean ± std over {plural(document['repeats'], 'training')} (of a baseline: each on newly drawn images)"
        f"{_budgets(document['results'], protocol['pace'])}"
    )


def _budgets(results: Sequence[Mapping[str, Any]], pace: str) -> str:
    """What to know before sets are compared: whose steps are counted otherwise, and whose bytes differ."""
    sets = [entry for entry in results if not entry["method"].startswith("whole")]
    said = ""
    if pace == "stored" and any(entry["training_images"] != entry["stored_images"] for entry in sets):
        said += "; a set that decodes to more images than it stores takes as many steps as its stored ones would"
    least, most = (choose(entry["stored_bytes"] for entry in sets) for choose in (min, max)) if sets else (0, 0)
    if most > 1.01 * least:
        said += f"; budgets differ: {least:,} to {most:,} bytes"
    return said


def _trainer(protocol: dict[str, Any]) -> str:
    settings = ", ".join(f"{key} {value:g}" for key, value in protocol.get(protocol["trainer"], {}).items())
    return protocol["trainer"] + (f" ({settings})" if settings else "")


def _spread(figures: dict[str, Any]) -> str:
    std = "" if figures["std"] is None else f" ± {100 * figures['std']:.1f}"
    return f"{100 * figures['mean']:.1f}{std}"


def _group(row: dict[str, Any]) -> str:
    few = ", few" if row["small"] else ""
    return f"{100 * row['accuracy']:.1f} {row['group']} (n={row['images']}{few})"
