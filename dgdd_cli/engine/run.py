"""A whole run: read the sources, distil, write the bundle; with a checkpoint beside the output in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dgdd_cli.bundle.manifest import Manifest
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.config import Distillation
from dgdd_cli.data.hold_out import check_cells, one_class
from dgdd_cli.data.images import Images
from dgdd_cli.data.load import Located, Reading, read_as
from dgdd_cli.data.shared_images import check_shared
from dgdd_cli.engine.checkpoint import checkpoint_path, digests, load_checkpoint, save_checkpoint
from dgdd_cli.engine.describe import bundle_facts, bundle_tensors, taught_facts
from dgdd_cli.engine.distill import distill
from dgdd_cli.engine.finished import finished_manifest, same_software
from dgdd_cli.engine.identity import identify_run
from dgdd_cli.errors import DgddError, UsageError
from dgdd_cli.groups.find import Groups, find_groups
from dgdd_cli.groups.pseudo_domains import with_pseudo_domains
from dgdd_cli.methods.complete import check_domains, check_groups
from dgdd_cli.methods.state import State
from dgdd_cli.progress import Progress
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import Choice, computes_bfloat16
from dgdd_cli.runtime.identity import OF_A_MACHINE
from dgdd_cli.runtime.precision import check_precision
from dgdd_cli.runtime.ranks import ALONE, Ranks
from dgdd_cli.storage.atomic import check_output, destination
from dgdd_cli.storage.cache import Cache
from dgdd_cli.storage.reserve import Reservation, reserved


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run leaves behind: where its bundle lies, and its manifest, which is None on a rank that does not lead."""

    source: Images
    path: Path
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
    """Distil `run` from the named sources and write its bundle to `out`, or beside it where that is taken meanwhile.

    The name `out` is held from the start: UsageError while another run writes it. A checkpoint of an earlier run is
    continued with `resume`, ignored with `overwrite`, and refused otherwise (UsageError); it is removed once the bundle
    is written. With `resume` a bundle of this very run is the result. `warn` and `note` hear what a person should know.
    """
    checkpoint = checkpoint_path(destination(out))
    with ExitStack() as while_running:

        def begin() -> Reservation:
            reservation = while_running.enter_context(reserved(out, warn))
            _check_checkpoint(checkpoint, resume=resume, overwrite=overwrite)
            return reservation

        reservation = ranks.leader_says(begin)
        if not run.domains:
            check_domains(run.recipe, sources, run.target)
        probes = run.recipe.probes
        if probes:
            check_precision(probes.precision, chosen.device, setting="probes.precision")
        source = read_as(reading, located, image_size=run.image_size, domains=sources, progress=progress)
        styled = with_pseudo_domains(source, run.domains) if run.domains else source
        check_domains(run.recipe, styled.domain_names, run.target)
        for line in (*source.notes, *check_cells(styled), *one_class(source), *check_shared(source)):
            warn(line)
        if probes and probes.precision == "bfloat16" and not computes_bfloat16(chosen.device):
            note(f"{chosen.name} has no instructions for bfloat16: float32 would be faster")
        groups = _groups_of(run, source, styled, reading.cache, progress, note)
        identity = ranks.agree(
            identify_run(
                run,
                dataset=located.name,
                fingerprint=styled.fingerprint(),
                groups=groups,
                chosen=chosen,
                ranks=ranks.size,
                kernels=kernels,
            ),
            may_differ=OF_A_MACHINE,
        )
        steps = run.recipe.optimiser.steps if run.recipe.optimiser else 0
        facts = bundle_facts(run, located, source, steps, chosen, ranks, groups=groups, domains=styled)

        def ready() -> Manifest | None:
            interrupted = checkpoint.exists() and overwrite  # a run over an older bundle
            if not resume or interrupted or not out.exists():
                return None
            return finished_manifest(out, facts, ipc=run.ipc, image_size=run.image_size, overwrite=overwrite, note=note)

        if done := ranks.leader_says(ready):
            note(f"{out} is already finished")
            if ranks.leads and same_software(done, facts):
                _remove(checkpoint)
            return Finished(source, out, done if ranks.leads else None)
        state = None
        if resume and checkpoint.exists():
            state = load_checkpoint(checkpoint, identity)
            note(f"resuming from step {state.step}")
        elif resume:
            note(f"no checkpoint at {checkpoint}: starting from the first step")
        ranks.agree({"step": state.step, **digests(state)} if state else {"step": 0})

        said: set[str] = set()

        def keep(now: State) -> None:
            try:
                save_checkpoint(checkpoint, now, identity)
            except DgddError as problem:  # a full disk must not end a healthy run: it may have room by the end
                if problem.message not in said:  # the next step will most likely meet the same
                    said.add(problem.message)
                    warn(f"no checkpoint at step {now.step}: {problem.message}")

        result = distill(
            Context(
                seed=run.seed,
                device=chosen.device,
                kernels=kernels,
                ranks=ranks,
                cache=reading.cache,
                progress=progress,
            ),
            styled,
            run.recipe,
            ipc=run.ipc,
            groups=groups,
            state=state,
            keep=keep if ranks.leads else None,
            keep_seconds=keep_seconds,
        )
        if not ranks.leads:
            return Finished(source, out, None)
        if styled is not source:  # what a pseudo-domain is made of is nobody's domain
            result = replace(result, domains=torch.full_like(result.domains, -1))
        tensors, known, size = bundle_tensors(result), taught_facts(facts, result.taught), run.image_size
        where, manifest = reservation.write(
            lambda path, over: write_bundle(path, tensors, known, image_size=size, overwrite=over), overwrite=overwrite
        )
        if where != out:
            warn(f"{out} was taken meanwhile: the bundle is {where}")
        _remove(checkpoint)
        return Finished(source, where, manifest)


def _check_checkpoint(checkpoint: Path, *, resume: bool, overwrite: bool) -> None:
    check_output(checkpoint, overwrite=True)
    if checkpoint.exists() and not (resume or overwrite):
        raise UsageError(
            f"{checkpoint} is the checkpoint of an interrupted run",
            hint="--resume continues it, --force starts afresh",
        )


def _remove(checkpoint: Path) -> None:
    with suppress(OSError):  # the bundle is written: nothing else matters
        checkpoint.unlink(missing_ok=True)


def _groups_of(
    run: Distillation,
    source: Images,
    styled: Images,
    cache: Cache | None,
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
