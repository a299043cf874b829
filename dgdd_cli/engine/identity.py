"""Which run this is: everything that decides its images, by name, so that two runs can be told apart in words."""

from __future__ import annotations

from importlib import metadata

from pydantic import JsonValue

from dgdd_cli.config import Distillation, Recipe
from dgdd_cli.core.dispatch import choose
from dgdd_cli.groups.find import NAMED, Groups
from dgdd_cli.networks import foreign_weights
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.identity import DATA, GROUPS, flat
from dgdd_cli.runtime.software import named_arithmetic


def identify_run(
    context: Context, run: Distillation, *, dataset: str, fingerprint: str, groups: Groups | None
) -> dict[str, JsonValue]:
    """The settings under the names of --set, the data and groups as hashes, and the software and machine that compute.

    `dataset` is its name and `fingerprint` that of the sources; a folder or file that was moved is the same one.
    """
    import torch

    settings = _without_paths(run).model_dump(mode="json", exclude_none=True) | {"dataset": dataset}
    recipe = settings.pop("recipe")
    computed = run.recipe.surgery or run.recipe.risk
    return {
        **dict(flat(settings)),
        **dict(flat(recipe)),
        DATA: fingerprint,
        GROUPS: groups.digest if groups else None,
        "ranks": context.ranks.size,
        "kernels": choose(context.kernels, context.device, torch.float32) if computed else None,
        **named_arithmetic(context.device),
        **({"probes.weights": weights} if (weights := weights_of(run)) else {}),
        **({"scikit-learn": metadata.version("scikit-learn")} if _clusters(run.recipe) else {}),
    }


def weights_of(run: Distillation) -> str | None:
    """Where the weights of the run's probes come from, None where they are drawn or there are none."""
    probes = run.recipe.probes
    return foreign_weights(probes.network, image_size=run.image_size) if probes else None


def _clusters(recipe: Recipe) -> bool:
    """Whether K-means decides real images as the run goes; groups are hashed."""
    return recipe.initialisation.name == "kmeans" or (recipe.probes is not None and recipe.probes.select == "kmeans")


def _without_paths(run: Distillation) -> Distillation:
    """The run without the names of its groups files, whose contents are hashed: a moved file is the same file."""
    risk = run.recipe.risk
    if risk and risk.groups not in NAMED and not risk.groups.startswith("kmeans:"):
        run = run.model_copy(
            update={"recipe": run.recipe.model_copy(update={"risk": risk.model_copy(update={"groups": "file"})})}
        )
    return run.model_copy(update={"domains": "file" if run.domains else None})
