"""From a recipe to the steps of a run: features matched through frozen probes, or gradients along trajectories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from dgdd_cli.config import Matching, Optimiser, Probes, Recipe
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.errors import UsageError
from dgdd_cli.matching import OBJECTIVES
from dgdd_cli.methods.capture import captured, cuda_graphs
from dgdd_cli.methods.cells import describe_cells
from dgdd_cli.methods.domain_wise import averaged_domains, domains_at_risk
from dgdd_cli.methods.gradient_matching import gradient_matching
from dgdd_cli.methods.pooling import at_risk, average
from dgdd_cli.methods.risk_parts import RiskParts, split_by_domain
from dgdd_cli.methods.state import State, Steps
from dgdd_cli.methods.step import pooled_gradient, surgical_gradient
from dgdd_cli.probes.source import probe_source
from dgdd_cli.progress import Progress
from dgdd_cli.runtime.ranks import Ranks


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under what a run takes place, whatever its method: its chances, its machine, its cache folder, its listeners."""

    seed: int
    device: torch.device
    kernels: str
    ranks: Ranks
    cache: Path | None
    progress: Progress
    note: Callable[[str], None]


def feature_steps(
    source: DomainDataset, recipe: Recipe, state: State, parts: RiskParts | None, under: Circumstances
) -> Steps:
    """Matching of mean features, or of samples of them, through probes that never change; fills their bank."""
    matching, probes, optimiser = _tables(recipe)
    check_samples(matching, probes)
    cells = describe_cells(state.labels, state.domains, source.counts().to(under.device), matching.weights)
    risk, watched = recipe.risk, parts.partition if parts else None
    if recipe.surgery:
        domain_wise = averaged_domains(matching, cells)
        if risk and parts:
            pieces = split_by_domain(source, parts)
            samples = probes.reservoir or 0
            domain_wise = domains_at_risk(matching, risk, parts, pieces, cells, samples=samples, kernels=under.kernels)
            watched = pieces.partition
        gradient = surgical_gradient(matching, recipe.surgery, cells, domain_wise, kernels=under.kernels)
    elif risk and parts:
        gradient = pooled_gradient(at_risk(matching, risk, parts, cells, kernels=under.kernels))
    else:
        gradient = pooled_gradient(average(matching, cells))
    probe_at = probe_source(
        source,
        probes,
        normalisation_of(source),
        seed=under.seed,
        steps=optimiser.steps,
        device=under.device,
        progress=under.progress,
        parts=watched,
        samples=probes.reservoir or 0,
        readout=matching.readout,
        ranks=under.ranks,
        cache=under.cache,
        note=under.note,
    )
    if under.device.type == "cuda":
        gradient = captured(gradient, cuda_graphs(under.device))
    return Steps(lambda images, step, standing: gradient(images, probe_at(step), standing))


def check_samples(matching: Matching, probes: Probes) -> None:
    """Raise UsageError where the probes hold the means of what the objective needs samples of."""
    if OBJECTIVES[matching.name].samples and not probes.reservoir:
        raise UsageError(
            f"the objective {matching.name!r} compares with samples of the real images, and these probes hold means",
            hint="--set probes.reservoir=16",
        )


def gradient_steps(
    source: DomainDataset, recipe: Recipe, state: State, parts: RiskParts | None, under: Circumstances
) -> Steps:
    """Matching of parameter gradients through networks that are trained as they go."""
    matching, probes, _ = _tables(recipe)
    trajectory = recipe.trajectory
    assert trajectory, "a complete recipe of gradient matching has a trajectory"
    gradient = gradient_matching(
        source,
        state.labels,
        matching=matching,
        probes=probes,
        trajectory=trajectory,
        risk=recipe.risk,
        parts=parts,
        normalisation=normalisation_of(source),
        seed=under.seed,
        device=under.device,
        kernels=under.kernels,
        ranks=under.ranks,
        progress=under.progress,
    )
    return Steps(gradient, resumable=lambda step: step % trajectory.length == 0)


def _tables(recipe: Recipe) -> tuple[Matching, Probes, Optimiser]:
    assert recipe.matching, "only a recipe with a matching has steps"
    assert recipe.probes
    assert recipe.optimiser
    return recipe.matching, recipe.probes, recipe.optimiser
