"""What `dgdd distill` says of a bundle that it wrote: the document, the line for people, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgdd_cli.text import plural, typeable

if TYPE_CHECKING:
    from dgdd_cli.bundle.manifest import Manifest
    from dgdd_cli.config import Distillation
    from dgdd_cli.runtime.device import Choice

Skipped = Sequence[tuple[str, str]]


def result_document(
    run: Distillation, dataset: str, out: Path, manifest: Manifest, chosen: Choice, *, skipped: Skipped, peak: int
) -> dict[str, Any]:
    """The document `dgdd.distill/1`; `skipped`: unreadable files and why, `peak`: the process's memory in bytes."""
    return {
        "schema": "dgdd.distill/1",
        "bundle": str(out),
        "id": manifest.id,
        "method": run.method,
        "dataset": dataset,
        "sources": list(manifest.domains),
        "target": manifest.target,
        "ipc": run.ipc,
        "images": manifest.images.count,
        "image_size": run.image_size,
        "steps": manifest.steps,
        "seed": run.seed,
        "device": {"type": chosen.device.type, "name": chosen.name, "reason": chosen.reason},
        "skipped_images": len(skipped),
        **skipped_files(skipped),
        "peak_memory_bytes": peak,
    }


def skipped_files(skipped: Skipped) -> dict[str, list[dict[str, str]]]:
    """The entry of a document that lists every file left out as corrupt; none where there is none."""
    return {"skipped_files": [{"file": name, "reason": reason} for name, reason in skipped]} if skipped else {}


def result_line(document: dict[str, Any]) -> str:
    """The same in one line: where the bundle lies, what it holds, and what it was made of."""
    held = f"{document['target']} held out" if document["target"] else "no domain held out"
    return (
        f"{document['bundle']}: {plural(document['images'], 'image')}, {document['ipc']} per class, "
        f"{document['method']} on {document['dataset']} ({', '.join(document['sources'])}; {held}), "
        f"{plural(document['steps'], 'step')}, peak memory {document['peak_memory_bytes'] / 2**30:.2f} GiB"
    )


def next_command(out: Path, data: Path | None, folder: str | None, target: str | None) -> str:
    """The command that evaluates the bundle; `folder` is that of a dataset which the catalog does not know.

    `target` is what to test on where the bundle holds no domain out.
    """
    where = ["--data", typeable(data)] if data else []
    where += ["--dataset", typeable(folder)] if folder else []
    where += ["--target", typeable(target)] if target else []
    return " ".join(["dgdd evaluate", typeable(out), *where])
