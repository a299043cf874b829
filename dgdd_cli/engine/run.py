"""A whole run: read the sources, distil, write the bundle; with a checkpoint beside the output in between."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
from dgdd_cli.data.validation import Split, split_validation
from dgdd_cli.engine.checkpoint import checkpoint_path, digests, load_checkpoint, save_checkpoint
from dgdd_cli.engine.describe import bundle_facts, bundle_tensors, taught_facts
from dgdd_cli.engine.distill import distill
from dgdd_cli.engine.finished import finished_manifest, same_software
from dgdd_cli.engine.identity import identify_run
from dgdd_cli.engine.loop import Keep
from dgdd_cli.errors import DgddError, UsageError
from dgdd_cli.groups.find import Groups, find_groups
from dgdd_cli.groups.pseudo_domains import with_pseudo_domains
from dgdd_cli.methods.complete import check_domains, check_groups
from dgdd_cli.methods.state import State
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import computes_bfloat16
from dgdd_cli.runtime.identity import OF_A_MACHINE, Identity
from dgdd_cli.runtime.precision import check_precision
from dgdd_cli.storage.atomic import check_output, destination
from dgdd_cli.storage.reserve import Reservation, reserved
from dgdd_cli.synthesis.codec import codec_named
from dgdd_cli.text import plural

log = logging.getLogger("dgdd")


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run leaves behind: where its bundle lies, and its manifest, which is None on a rank that does not lead."""

    source: Images
    path: Path
    manifest: Manifest | None


def distil_to_bundle(
    context: Context,
    run: Distillation,
    located: Located,
    sources: Sequence[str],
    out: Path,
    *,
    reading: Reading,
    overwrite: bool,
    resume: bool,
    keep_seconds: float,
) -> Finished:
    """Distil `run` from the named sources and write its bundle to `out`, or beside it where that is taken meanwhile.

    The name `out` is held from the start: UsageError while another run writes it. A checkpoint of an earlier run is
    continued with `resume`, ignored with `overwrite`, and refused otherwise (UsageError); it is removed once the bundle
    is written. With `resume` a bundle of this very run is the result.
    """
    ranks, checkpoint = context.ranks, checkpoint_path(destination(out))
    with ExitStack() as while_running:

        def begin() -> Reservation:
            reservation = while_running.enter_context(reserved(out))
            _check_checkpoint(checkpoint, resume=resume, overwrite=overwrite)
            return reservation

        reservation = ranks.leader_says(begin)
        real = _read_sources(context, run, located, sources, reading)
        identity = ranks.agree(
            identify_run(context, run, dataset=located.name, fingerprint=real.styled.fingerprint(), groups=real.groups),
            may_differ=OF_A_MACHINE,
        )
        facts = bundle_facts(
            context,
            run,
            located,
            real.source,
            whole=real.whole,
            groups=real.groups,
            domains=real.styled,
            validation=real.validation,
        )

        def ready() -> Manifest | None:
            interrupted = checkpoint.exists() and overwrite  # a run over an older bundle
            if not resume or interrupted or not out.exists():
                return None
            return finished_manifest(out, facts, ipc=run.ipc, image_size=run.image_size, overwrite=overwrite)

        if done := ranks.leader_says(ready):
            log.info("%s is already finished", out)
            if ranks.leads and same_software(done, facts):
                _remove(checkpoint)
            return Finished(real.source, out, done if ranks.leads else None)
        result = distill(
            context,
            real.styled,
            run.recipe,
            ipc=run.ipc,
            groups=real.groups,
            state=_resumed(context, checkpoint, identity) if resume else _agreed(context, None),
            keep=_keeper(checkpoint, identity) if ranks.leads else None,
            keep_seconds=keep_seconds,
            codec=codec_named(run.codec),
        )
        if not ranks.leads:
            return Finished(real.source, out, None)
        if real.styled is not real.source:  # what a pseudo-domain is made of is nobody's domain
            result = replace(result, domains=torch.full_like(result.domains, -1))
        tensors, known, size = bundle_tensors(result), taught_facts(facts, result.taught), run.image_size
        where, manifest = reservation.write(
            lambda path, over: write_bundle(path, tensors, known, image_size=size, overwrite=over), overwrite=overwrite
        )
        if where != out:
            log.warning("%s was taken meanwhile: the bundle is %s", out, where)
        _remove(checkpoint)
        return Finished(real.source, where, manifest)


@dataclass(frozen=True, slots=True)
class _Sources:
    """The source set as it was read, what of it is distilled, the same under the run's pseudo-domains, if any, the
    groups that its risk is about, and what is left out for validation."""

    whole: Images
    source: Images
    styled: Images
    groups: Groups | None
    validation: Split | None


def _read_sources(
    context: Context, run: Distillation, located: Located, sources: Sequence[str], reading: Reading
) -> _Sources:
    """Read what the run learns from; what a person should know of it is logged. Raises UsageError and DataError."""
    probes = run.recipe.probes
    if not run.domains:
        check_domains(run.recipe, sources, run.target)
    if probes:
        check_precision(probes.precision, context.device, setting="probes.precision")
    whole = read_as(context, reading, located, image_size=run.image_size, domains=sources)
    split = None if run.validation is None else split_validation(whole, run.validation, run.seed)
    source = split.kept if split else whole
    styled = with_pseudo_domains(source, run.domains) if run.domains else source
    check_domains(run.recipe, styled.domain_names, run.target)
    for line in (*whole.notes, *check_cells(styled), *one_class(whole), *check_shared(whole)):
        log.warning("%s", line)
    if split:
        log.info("%s of %s left out for validation", plural(len(split.held), "image"), plural(len(whole), "image"))
        for line in split.notes:
            log.warning("%s", line)
    if probes and probes.precision == "bfloat16" and not computes_bfloat16(context.device):
        log.info("%s has no instructions for bfloat16: float32 would be faster", context.chosen.name)
    return _Sources(whole, source, styled, _groups_of(context, run, source, styled), split)


def _resumed(context: Context, checkpoint: Path, identity: Identity) -> State | None:
    """The state of an earlier run, None where it left no checkpoint; every rank has the same."""
    state = load_checkpoint(checkpoint, identity) if checkpoint.exists() else None
    if state:
        log.info("resuming from step %d", state.step)
    else:
        log.info("no checkpoint at %s: starting from the first step", checkpoint)
    return _agreed(context, state)


def _agreed(context: Context, state: State | None) -> State | None:
    context.ranks.agree({"step": state.step, **digests(state)} if state else {"step": 0})
    return state


def _keeper(checkpoint: Path, identity: Identity) -> Keep:
    """Writes checkpoints; a full disk must not end a healthy run, which may have room by the end."""
    said: set[str] = set()

    def keep(now: State) -> None:
        try:
            save_checkpoint(checkpoint, now, identity)
        except DgddError as problem:
            if problem.message not in said:  # the next step will most likely meet the same
                said.add(problem.message)
                log.warning("no checkpoint at step %d: %s", now.step, problem.message)

    return keep


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


def _groups_of(context: Context, run: Distillation, source: Images, styled: Images) -> Groups | None:
    """The groups that the run's risk is about: domains are those of the run, clusters those of the images."""
    if run.recipe.risk is None:
        return None
    spec = run.recipe.risk.groups
    of_domains = spec in ("domain", "class-domain")
    groups = find_groups(context, styled if of_domains else source, spec)
    check_groups(run.recipe, groups.within_class)
    for line in groups.notes:
        log.info("%s", line)
    return groups
