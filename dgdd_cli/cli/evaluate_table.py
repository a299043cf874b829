"""The table that `dgdd evaluate` shows to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dgdd_cli.cli.output import cell
from dgdd_cli.text import plural

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def results_table(document: dict[str, Any]) -> Table:
    """One line for each training set, network and target; columns on groups where the document has groups."""
    from rich.table import Table

    table = Table(caption=_caption(document), caption_justify="left")
    for heading in ("training set", "method", "target", "", "network"):
        table.add_column(heading, overflow="fold")
    grouped = "groups" in document
    clustered = grouped and "cluster_min" in document["results"][0]
    headings = ["images", "accuracy %", "balanced %", "worst class %"]
    headings += ["worst group %", "mean of groups %"] if grouped else []
    headings += ["cluster-min %"] if clustered else []
    for heading in (*headings, "ECE %"):
        table.add_column(heading, justify="right", overflow="fold")
    for entry in document["results"]:
        worst = entry["worst_class"]
        figures: list[str | Text] = [
            str(entry["training_images"]),
            _spread(entry["accuracy"]),
            _spread(entry["balanced_accuracy"]),
            cell(f"{100 * worst['accuracy']:.1f} {worst['class']} (n={worst['images']})"),
        ]
        figures += [_group(entry["worst_group"]), _spread(entry["adjusted_accuracy"])] if grouped else []
        figures += [_spread(entry["cluster_min"])] if clustered else []
        table.add_row(
            cell(entry["name"]),
            cell(entry["method"]),
            cell(entry["target"] + (f" ({entry['corruption']})" if entry["corruption"] else "")),
            entry["setting"],
            entry["network"],
            *figures,
            f"{100 * entry['ece']['mean']:.1f}",
        )
    return table


def _caption(document: dict[str, Any]) -> str:
    protocol = document["protocol"]
    return (
        f"{document['dataset']} at {document['image_size']} px; protocol {protocol['name']}: "
        f"{plural(protocol['epochs'], 'epoch')} (whole: {protocol['whole_epochs']}), batch {protocol['batch']}, "
        f"SGD {protocol['rate']:g}, trainer {_trainer(protocol)}, {protocol['augment']}, {protocol['precision']}, "
        f"score of the {protocol['selection']} epoch; "
        f"mean ± std over {plural(document['repeats'], 'training')} (of a baseline: each on newly drawn images)"
    )


def _trainer(protocol: dict[str, Any]) -> str:
    settings = ", ".join(f"{key} {value:g}" for key, value in protocol.get(protocol["trainer"], {}).items())
    return protocol["trainer"] + (f" ({settings})" if settings else "")


def _spread(figures: dict[str, Any]) -> str:
    std = "" if figures["std"] is None else f" ± {100 * figures['std']:.1f}"
    return f"{100 * figures['mean']:.1f}{std}"


def _group(row: dict[str, Any]) -> Text:
    few = ", few" if row["small"] else ""
    return cell(f"{100 * row['accuracy']:.1f} {row['group']} (n={row['images']}{few})")
