"""`distill` from Python: a dataset in, a bundle out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgdd_cli.api.reading import assignments, cache_at
from dgdd_cli.bundle.read import Bundle, load_bundle
from dgdd_cli.config import Distillation, resolve
from dgdd_cli.data.hold_out import split_domains, target_of
from dgdd_cli.data.load import Located, Reading, locate
from dgdd_cli.engine.run import distil_to_bundle
from dgdd_cli.errors import UsageError
from dgdd_cli.groups.find import NAMED
from dgdd_cli.methods.complete import complete
from dgdd_cli.methods.decoding import parameterisation_of
from dgdd_cli.progress import Progress, silent
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import choose_device
from dgdd_cli.storage.atomic import check_output
from dgdd_cli.synthesis.codec import codec_named


@dataclass(frozen=True, slots=True)
class Planned:
    """A run whose settings are whole, where its data lie, and the domains that it is distilled from."""

    run: Distillation
    located: Located
    sources: tuple[str, ...]


def plan_distillation(
    flags: Mapping[str, Any], *, data: Path | None = None, file: Path | None = None, assigned: Iterable[str] = ()
) -> Planned:
    """The run that flags, a configuration file and `--set` ask for. Raises UsageError, and DataError for its dataset.

    `flags` has the keys of a configuration; None means that a flag was not given.
    """
    run = resolve(_given(flags), file=file, assignments=assigned)
    located = locate(run.dataset, data_dir=data)
    wanted = run.target or located.default_target
    if wanted is None:
        raise UsageError(
            f"{run.dataset!r} has no default target: say which domain to leave out",
            hint=f"--target {located.domain_names[-1]}, or --target none to use all domains"
            if len(located.domain_names) > 1
            else "--target none",
        )
    sources, held_out = split_domains(located, wanted)
    if run.validation is not None and (whole := _about_all_images(run)):
        raise UsageError(
            f"--validate leaves images out, and {whole} are of all of them", hint="leave one of the two out"
        )
    if (codec := codec_named(run.codec)) and "images" not in parameterisation_of(run.recipe, run.image_size).layout:
        raise UsageError(
            f"--codec {codec} encodes images, and {run.recipe.synthesis.name} are stored", hint="--codec raw"
        )
    recipe = complete(run.recipe, located.name, image_size=run.image_size)
    return Planned(run.model_copy(update={"target": target_of(held_out), "recipe": recipe}), located, tuple(sources))


def _about_all_images(run: Distillation) -> str | None:
    """What of a run is a file of `dgdd cluster`, which names every image of the sources."""
    if run.domains:
        return f"the groups of {run.domains}"
    spec = run.recipe.risk.groups if run.recipe.risk else "domain"
    return None if spec in NAMED or spec.startswith("kmeans:") else f"the groups of {spec}"


def flags_of(
    *,
    dataset: str | None,
    method: str | None,
    ipc: int | None,
    target: str | None,
    image_size: int | None,
    seed: int | None,
    domains: Path | str | None,
    steps: int | None,
    probes: str | None,
    risk: str | None,
    groups: str | None,
    cvar_tail: float | None,
    factor: int | None,
    codec: str | None,
    validate: float | None,
) -> dict[str, Any]:
    """The flags of `dgdd distill` under the keys of a configuration."""
    return {
        "dataset": dataset,
        "target": target,
        "ipc": ipc,
        "image_size": image_size,
        "seed": seed,
        "method": method,
        "domains": None if domains is None else str(domains),
        "codec": codec,
        "validation": validate,
        "recipe": {
            "optimiser": {"steps": steps},
            "probes": {"source": probes},
            "risk": {"name": risk, "groups": groups, "tail": cvar_tail},
            "synthesis": {"factor": factor},
        },
    }


def distill(
    dataset: str | Path,
    *,
    method: str | None = None,
    ipc: int | None = None,
    target: str | None = None,
    image_size: int | None = None,
    steps: int | None = None,
    probes: str | None = None,
    risk: str | None = None,
    groups: str | None = None,
    cvar_tail: float | None = None,
    factor: int | None = None,
    codec: str | None = None,
    validate: float | None = None,
    domains: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    config: str | Path | None = None,
    seed: int | None = None,
    data: str | Path | None = None,
    cache_dir: str | Path | None = None,
    out: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    device: str = "auto",
    kernels: str = "auto",
    skip_corrupt: bool = False,
    offline: bool = False,
    progress: Progress = silent,
) -> Bundle:
    """Distil a dataset as `dgdd distill` does, and return the bundle; with `out` it is written there too.

    Keywords are the flags of the command line; `settings` is `--set`, e.g. {"surgery.power": 2}. What is None is
    decided by the configuration file, the recipe and the defaults. Raises DgddError as the command line exits.
    """
    if out is not None:
        check_output(Path(out), overwrite=force or resume)
    planned = plan_distillation(
        flags_of(
            dataset=str(dataset.absolute()) if isinstance(dataset, Path) else dataset,
            method=method,
            ipc=ipc,
            target=target,
            image_size=image_size,
            seed=seed,
            domains=domains,
            steps=steps,
            probes=probes,
            risk=risk,
            groups=groups,
            cvar_tail=cvar_tail,
            factor=factor,
            codec=codec,
            validate=validate,
        ),
        data=None if data is None else Path(data),
        file=None if config is None else Path(config),
        assigned=assignments(settings),
    )
    with tempfile.TemporaryDirectory(prefix="dgdd-") as aside:
        context = Context(
            planned.run.seed, choose_device(device), kernels, cache=cache_at(cache_dir), progress=progress
        )
        finished = distil_to_bundle(
            context,
            planned.run,
            planned.located,
            planned.sources,
            Path(aside, "bundle.safetensors") if out is None else Path(out),
            reading=Reading(skip_corrupt, offline),
            overwrite=force,
            resume=resume,
            keep_seconds=30.0,
        )
        return load_bundle(finished.path)


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags without those that were not given, so that an absent table stays absent."""
    kept = {key: _given(value) if isinstance(value, Mapping) else value for key, value in flags.items()}
    return {key: value for key, value in kept.items() if value is not None and value != {}}
