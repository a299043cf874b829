"""A whole run: read the sources, distil, write the bundle; with a checkpoint beside the output in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dgdd_cli.bundle.manifest import Manifest
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.config import Distillation
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.hold_out import check_cells
from dgdd_cli.data.load import Located, Reading, read_as
from dgdd_cli.engine.checkpoint import State, checkpoint_path, load_checkpoint, save_checkpoint
from dgdd_cli.engine.describe import bundle_facts, bundle_tensors
from dgdd_cli.engine.device import Choice
from dgdd_cli.engine.distill import Distilled, distill
from dgdd_cli.engine.ranks import ALONE, Ranks
from dgdd_cli.errors import DgddError, UsageError
from dgdd_cli.progress import Progress


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run leaves behind; the manifest is that of the written bundle, None on a rank that does not lead."""

    source: DomainDataset
    result: Distilled
    manifest: Manifest | None


def distil_to_bundle(
    run: Distillation,
    located: Located,
    sources: Sequence[str],
    out: Path,
    *,
    chosen: Choice,
    reading: Reading,
    overwrite: bool,
    resume: bool,
    keep_seconds: float,
    kernels: str,
    progress: Progress,
    warn: Callable[[str], None],
    note: Callable[[str], None],
    ranks: Ranks = ALONE,
) -> Finished:
    """Distil `run` from the named sources and write its bundle to `out`.

    A checkpoint of an earlier run is continued with `resume`, ignored with `overwrite`, and refused otherwise
    (UsageError); it is removed once the bundle is written. `warn` and `note` hear what a person should know.
    """
    checkpoint = checkpoint_path(out)
    if checkpoint.exists() and not (resume or overwrite):
        raise UsageError(
            f"{checkpoint} is the checkpoint of an interrupted run",
            hint="--resume continues it, --force starts afresh",
        )
    source = read_as(reading, located, image_size=run.image_size, domains=sources, progress=progress)
    for line in (*source.notes, *check_cells(source)):
        warn(line)
    digest = run.digest(source.fingerprint(), chosen.device.type, str(ranks.size))
    state = None
    if resume and checkpoint.exists():
        state = load_checkpoint(checkpoint, digest)
        note(f"resuming from step {state.step}")
    elif resume:
        note(f"no checkpoint at {checkpoint}: starting from the first step")

    def keep(now: State) -> None:
        try:
            save_checkpoint(checkpoint, now, digest)
        except DgddError as problem:  # a full disk must not end a healthy run: it may have room by the end
            warn(f"no checkpoint at step {now.step}: {problem.message}")

    result = distill(
        source,
        run.recipe,
        ipc=run.ipc,
        seed=run.seed,
        device=chosen.device,
        state=state,
        keep=keep if ranks.leads else None,
        keep_seconds=keep_seconds,
        kernels=kernels,
        ranks=ranks,
        progress=progress,
    )
    if not ranks.leads:
        return Finished(source, result, None)
    facts = bundle_facts(run, located, source, result, chosen, ranks)
    manifest = write_bundle(out, bundle_tensors(result), facts, overwrite=overwrite)
    checkpoint.unlink(missing_ok=True)
    return Finished(source, result, manifest)
