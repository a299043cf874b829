"""A recipe made whole for a dataset, and refused where its parts do not go together."""

from __future__ import annotations

from dgdd_cli.augment import for_dataset, parse
from dgdd_cli.config import Recipe, Risk
from dgdd_cli.errors import UsageError

TAIL_RISKS = ("cvar", "cvar-within", "mean-max")


def complete(recipe: Recipe, dataset: str) -> Recipe:
    """The recipe with what depends on the dataset filled in (`augment = "auto"`), checked as far as possible.

    Raises UsageError for parts that do not go together: surgery without matching, matching without an optimiser, a
    risk that a method cannot act on.
    """
    if recipe.surgery and not recipe.matching:
        raise UsageError("surgery needs a matching objective to act on", hint="--method sgs, or --set matching.name=dm")
    if recipe.matching and not (recipe.probes and recipe.optimiser):
        raise UsageError("matching needs the tables probes and optimiser", hint="start from --method dm --print-config")
    if recipe.optimiser and not recipe.matching:
        raise UsageError("this method selects real images: it makes no steps", hint="--method sgs or dm makes steps")
    if recipe.probes and not recipe.matching and recipe.initialisation.name != "kmeans":
        raise UsageError("this method looks through no probes", hint="--method sgs, dm or kmeans does")
    if recipe.matching and recipe.matching.name == "gradient":
        _check_gradient_matching(recipe)
    elif recipe.trajectory:
        raise UsageError("a trajectory is the life of a network in gradient matching", hint="--method dc, dsa or rdd")
    elif recipe.probes and recipe.probes.select != "random":
        raise UsageError("only gradient matching selects representatives", hint="--method rdd")
    if recipe.risk:
        _check_risk(recipe, recipe.risk)
    if recipe.probes is None:
        return recipe
    augment = for_dataset(recipe.probes.augment, dataset)
    parse(augment)
    return recipe.model_copy(update={"probes": recipe.probes.model_copy(update={"augment": augment})})


def _check_gradient_matching(recipe: Recipe) -> None:
    assert recipe.probes
    if recipe.trajectory is None:
        raise UsageError("gradient matching needs the table trajectory", hint="start from --method dsa --print-config")
    if recipe.probes.bank_size is not None:
        raise UsageError(
            "gradient matching trains its networks as it goes: there is no bank of them to fill",
            hint="--probes fresh",
        )
    if recipe.surgery:
        raise UsageError("surgery acts on distribution matching, not on gradient matching", hint="--method sgs")
    if recipe.probes.network != "convnet":
        raise UsageError(
            f"gradient matching needs a network without batch normalisation, which {recipe.probes.network} has",
            hint="--set probes.network=convnet",
        )


def _check_risk(recipe: Recipe, risk: Risk) -> None:
    if recipe.matching is None:
        raise UsageError(
            "a risk weighs matching losses, and this method selects real images: it has none",
            hint="--method dm, sgs, dsa or rdd",
        )
    given = risk.model_fields_set
    if "tail" in given and risk.name not in TAIL_RISKS:
        raise UsageError(f"the risk {risk.name!r} has no tail", hint="--risk cvar --cvar-tail 0.5")
    for key in ("rate", "adjustment"):
        if key in given and risk.name != "group-dro":
            raise UsageError(f"risk.{key} belongs to group-dro, not to {risk.name!r}", hint="--risk group-dro")
    if recipe.matching.name == "dm" and risk.name == "cvar-within" and risk.groups != "domain":
        raise UsageError(
            "distribution matching has one loss for each class and group: within a group of one class there is no tail",
            hint="--risk cvar takes it over the groups; --groups domain has a loss for each class",
        )
