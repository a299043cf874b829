"""A recipe made whole for a dataset, and refused where its parts do not go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dgdd_cli.augment import for_dataset, parse
from dgdd_cli.config import Probes, Recipe, Risk
from dgdd_cli.errors import UsageError
from dgdd_cli.matching import OBJECTIVES
from dgdd_cli.methods import method_of
from dgdd_cli.methods.decoding import parameterisation_of
from dgdd_cli.networks import blueprint
from dgdd_cli.synthesis.labelling import labeller

TAIL = 0.9  # of three or four groups the one that fares best counts about two thirds of the others
RATE = 0.01  # of group-DRO (Sagawa et al. 2020), per loss in units of the mean loss: larger ones give up easy groups
RESERVOIR = 16  # samples a cell

# What each risk reads beside its groups; everything else that is given for it is refused.
READS: dict[str, dict[str, float]] = {
    "mean": {},
    "cvar": {"tail": TAIL},
    "cvar-within": {"tail": TAIL},
    "mean-max": {"tail": TAIL},
    "group-dro": {"rate": RATE, "adjustment": 0.0},
}


def complete(recipe: Recipe, dataset: str, *, image_size: int = 32) -> Recipe:
    """The recipe with what depends on the dataset filled in (`augment = "auto"`), checked as far as possible.

    Raises UsageError for parts that do not go together: surgery without matching, matching without an optimiser, a
    risk that a method cannot act on; UnknownName for an objective that nobody registered.
    """
    if recipe.surgery and not recipe.matching:
        raise UsageError("surgery needs a matching objective to act on", hint="--method sgs, or --set matching.name=dm")
    if recipe.matching and not (recipe.probes and recipe.optimiser):
        raise UsageError("matching needs the tables probes and optimiser", hint="start from --method dm --print-config")
    if recipe.optimiser and not recipe.matching:
        raise UsageError("this method selects real images: it makes no steps", hint="--method sgs or dm makes steps")
    if recipe.probes and not recipe.matching and recipe.initialisation.name != "kmeans":
        raise UsageError("this method looks through no probes", hint="--method sgs, dm or kmeans does")
    parameterisation_of(recipe, image_size)
    labeller(recipe.labels.name, recipe.labels.settings)
    if recipe.matching:
        method_of(recipe.matching).check(recipe, image_size)
    elif recipe.trajectory:
        raise UsageError("a trajectory is the life of a network in gradient matching", hint="--method dc, dsa or rdd")
    elif recipe.probes and recipe.probes.select != "random":
        raise UsageError("only gradient matching selects representatives", hint="--method rdd")
    update: dict[str, Any] = {}
    if recipe.risk:
        update["risk"] = _complete_risk(recipe, recipe.risk)
    if recipe.probes:
        blueprint(recipe.probes.network, image_size=image_size)  # refuses a name or size that is none of its own
        update["probes"] = _complete_probes(recipe, recipe.probes, dataset)
    return recipe.model_copy(update=update)


def _complete_probes(recipe: Recipe, probes: Probes, dataset: str) -> Probes:
    augment = for_dataset(probes.augment, dataset)
    parse(augment)
    objective = OBJECTIVES.get(recipe.matching.name) if recipe.matching else None
    samples = objective is not None and objective.samples
    if probes.reservoir is not None and not samples:
        raise UsageError("only an objective that compares with samples holds a reservoir", hint="--method mmd")
    reservoir = (probes.reservoir or RESERVOIR) if samples else None
    return probes.model_copy(update={"augment": augment, "reservoir": reservoir})


def _complete_risk(recipe: Recipe, risk: Risk) -> Risk:
    if recipe.matching is None:
        raise UsageError(
            "a risk weighs matching losses, and this method selects real images: it has none",
            hint="--method dm, sgs, dsa or rdd",
        )
    reads = READS[risk.name]
    given = {key: getattr(risk, key) for key in ("tail", "rate", "adjustment") if getattr(risk, key) is not None}
    if "tail" in given and "tail" not in reads:
        raise UsageError(f"the risk {risk.name!r} has no tail", hint="--risk cvar --cvar-tail 0.5")
    if foreign := given.keys() - reads.keys():
        raise UsageError(f"risk.{min(foreign)} belongs to group-dro, not to {risk.name!r}", hint="--risk group-dro")
    in_classes = risk.groups == "class-domain" or risk.groups.startswith("kmeans:")
    if in_classes and not method_of(recipe.matching).trains:
        if risk.name == "cvar-within" or (risk.name == "mean-max" and "tail" in given):
            raise no_tail_within(risk.name)
        reads = {} if risk.name == "mean-max" else reads
    return risk.model_copy(update=reads | given)


def check_domains(recipe: Recipe, domains: Sequence[str], target: str | None) -> None:
    """Raise UsageError when a part of the recipe learns from how the source domains differ and there is only one."""
    if len(domains) > 1:
        return
    only = f"there is one source domain only ({', '.join(map(repr, domains))})"
    more = "" if target in (None, "none") else "\n--target none distils from all domains"
    if recipe.surgery:
        raise UsageError(
            f"surgery splits what domains share from what sets them apart, and {only}",
            hint=f"--method dm, dc, dsa, kmeans or random needs one domain{more}",
        )
    if recipe.risk and recipe.risk.groups == "domain":
        raise UsageError(
            f"the risk {recipe.risk.name!r} weighs domains against each other, and {only}",
            hint=f"--groups kmeans:10 weighs clusters within a class{more}",
        )


def check_groups(recipe: Recipe, within_class: bool) -> None:
    """Raise UsageError when the groups, now that they are read, leave the tail of the risk nothing to act on."""
    risk, matching = recipe.risk, recipe.matching
    if risk and matching and within_class and risk.name == "cvar-within" and not method_of(matching).trains:
        raise no_tail_within(risk.name)


def no_tail_within(name: str) -> UsageError:
    """Why a tail inside the groups of a class is refused."""
    return UsageError(
        f"distribution matching has one loss for each class and group: {name} finds no tail in a group of one class",
        hint="--risk cvar takes it over the groups; --groups domain has a loss for each class",
    )
