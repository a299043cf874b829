"""Feature matching: what is read out of images is compared through frozen probes, by an objective."""

from __future__ import annotations

from dgdd_cli.config import Matching, Probes, Recipe
from dgdd_cli.data.images import Images
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.errors import UsageError
from dgdd_cli.matching import OBJECTIVES
from dgdd_cli.matching.readout import readout_named
from dgdd_cli.methods.capture import captured, cuda_graphs
from dgdd_cli.methods.cells import describe_cells
from dgdd_cli.methods.decoding import decoded, owners_in, parameterisation_of
from dgdd_cli.methods.domain_wise import averaged_domains, domains_at_risk
from dgdd_cli.methods.group_cells import GroupCells, split_by_domain
from dgdd_cli.methods.method import Method, tables
from dgdd_cli.methods.pooling import at_risk, average, uniform_standing
from dgdd_cli.methods.state import State, Steps
from dgdd_cli.methods.step import pooled_gradient, surgical_gradient
from dgdd_cli.probes.source import probe_source
from dgdd_cli.runtime.context import Context


def feature_steps(
    context: Context, source: Images, recipe: Recipe, state: State, group_cells: GroupCells | None
) -> Steps:
    """Matching of mean features, or of samples of them, through probes that never change; fills their bank."""
    matching, probes, optimiser = tables(recipe)
    check_samples(matching, probes)
    coding = parameterisation_of(recipe, source.image_size)
    owners = owners_in(coding, state)
    cells = describe_cells(state.labels[owners], state.domains, source.counts().to(context.device), matching.weights)
    risk, watched = recipe.risk, group_cells.partition if group_cells else None
    if recipe.surgery:
        domain_wise = averaged_domains(matching, cells)
        if risk and group_cells:
            split_cells = split_by_domain(source, group_cells)
            samples = probes.reservoir or 0
            domain_wise = domains_at_risk(
                matching, risk, group_cells, split_cells, cells, samples=samples, kernels=context.kernels
            )
            watched = split_cells.partition
        gradient = surgical_gradient(matching, recipe.surgery, cells, domain_wise, kernels=context.kernels)
    elif risk and group_cells:
        gradient = pooled_gradient(at_risk(matching, risk, group_cells, cells, kernels=context.kernels))
    else:
        gradient = pooled_gradient(average(matching, cells))
    probe_at = probe_source(
        context,
        source,
        probes,
        normalisation_of(source),
        steps=optimiser.steps,
        group_cells=watched,
        samples=probes.reservoir or 0,
        readout=matching.readout,
    )
    if context.device.type == "cuda":
        gradient = captured(gradient, cuda_graphs(context.device))
    standing = uniform_standing(group_cells) if risk and group_cells and risk.name == "group-dro" else None
    look = decoded(coding, lambda images, step, standing: gradient(images, probe_at(step), standing))
    return Steps(look, standing=standing)


def check(recipe: Recipe, image_size: int) -> None:
    """Raise UsageError for what belongs to gradient matching, and for surgery on losses that are not a domain's."""
    matching, probes, _ = tables(recipe)
    readout_named(matching.readout)
    if recipe.trajectory:
        raise UsageError("a trajectory is the life of a network in gradient matching", hint="--method dc, dsa or rdd")
    if probes.select != "random":
        raise UsageError("only gradient matching selects representatives", hint="--method rdd")
    if recipe.surgery and not OBJECTIVES[matching.name].by_domain:
        raise UsageError(
            f"surgery acts on the losses of each domain, and the objective {matching.name!r} gives none",
            hint="--method sgs",
        )


def check_samples(matching: Matching, probes: Probes) -> None:
    """Raise UsageError where the probes hold the means of what the objective needs samples of."""
    if OBJECTIVES[matching.name].samples and not probes.reservoir:
        raise UsageError(
            f"the objective {matching.name!r} compares with samples of the real images, and these probes hold means",
            hint="--set probes.reservoir=16",
        )


FEATURE_MATCHING = Method(check, feature_steps)
