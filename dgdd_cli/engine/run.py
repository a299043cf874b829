"""A whole run: read the sources, distil, write the bundle; with a checkpoint beside the output in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dgdd_cli.bundle.manifest import Manifest
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.config import Distillation
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.hold_out import check_cells, one_class
from dgdd_cli.data.load import Located, Reading, read_as
from dgdd_cli.data.shared_images import check_shared
from dgdd_cli.engine.checkpoint import State, checkpoint_path, load_checkpoint, save_checkpoint
from dgdd_cli.engine.complete import check_domains, check_groups
from dgdd_cli.engine.describe import bundle_facts, bundle_tensors
from dgdd_cli.engine.device import Choice, computes_bfloat16
from dgdd_cli.engine.distill import Distilled, distill
from dgdd_cli.engine.groups import NAMED, Groups, find_groups
from dgdd_cli.engine.precision import check_precision
from dgdd_cli.engine.pseudo_domains import with_pseudo_domains
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
    if not run.domains:
        check_domains(run.recipe, sources)
    probes = run.recipe.probes
    if probes:
        check_precision(probes.precision, chosen.device, setting="probes.precision")
    source = read_as(reading, located, image_size=run.image_size, domains=sources, progress=progress)
    styled = with_pseudo_domains(source, run.domains) if run.domains else source
    check_domains(run.recipe, styled.domain_names)
    for line in (*source.notes, *check_cells(styled), *one_class(source), *check_shared(source)):
        warn(line)
    if probes and probes.precision == "bfloat16" and not computes_bfloat16(chosen.device):
        note(f"{chosen.name} has no instructions for bfloat16: float32 would be faster")
    groups = _groups_of(run, source, styled, reading.cache_dir, progress, note)
    facts = [styled.fingerprint(), chosen.device.type, str(ranks.size), groups.digest if groups else ""]
    digest = _without_paths(run).digest(*facts)
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
        styled,
        run.recipe,
        ipc=run.ipc,
        seed=run.seed,
        device=chosen.device,
        groups=groups,
        state=state,
        keep=keep if ranks.leads else None,
        keep_seconds=keep_seconds,
        kernels=kernels,
        ranks=ranks,
        cache=reading.cache_dir,
        progress=progress,
        note=note,
    )
    if not ranks.leads:
        return Finished(source, result, None)
    if styled is not source:  # what a pseudo-domain is made of is nobody's domain
        result = replace(result, domains=torch.full_like(result.domains, -1))
    manifest = write_bundle(
        out,
        bundle_tensors(result),
        bundle_facts(run, located, source, result, chosen, ranks, groups=groups, domains=styled),
        overwrite=overwrite,
    )
    checkpoint.unlink(missing_ok=True)
    return Finished(source, result, manifest)


def _without_paths(run: Distillation) -> Distillation:
    """The run without the names of its groups files, whose contents are facts: a moved file is the same file."""
    risk = run.recipe.risk
    if risk and risk.groups not in NAMED and not risk.groups.startswith("kmeans:"):
        run = run.model_copy(
            update={"recipe": run.recipe.model_copy(update={"risk": risk.model_copy(update={"groups": "file"})})}
        )
    return run.model_copy(update={"domains": "file" if run.domains else None})


def _groups_of(
    run: Distillation,
    source: DomainDataset,
    styled: DomainDataset,
    cache: Path | None,
    progress: Progress,
    note: Callable[[str], None],
) -> Groups | None:
    """The groups that the run's risk is about: domains are those of the run, clusters those of the images."""
    if run.recipe.risk is None:
        return None
    spec = run.recipe.risk.groups
    of_domains = spec in ("domain", "class-domain")
    groups = find_groups(styled if of_domains else source, spec, seed=run.seed, cache=cache, progress=progress)
    check_groups(run.recipe, groups.within_class)
    for line in groups.notes:
        note(line)
    return groups
