"""What a method is: it checks its recipe, and makes the steps of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dgdd_cli.config import Matching, Optimiser, Probes, Recipe
from dgdd_cli.data.images import Images
from dgdd_cli.methods.group_cells import GroupCells
from dgdd_cli.methods.state import State, Steps
from dgdd_cli.runtime.context import Context

MakeSteps = Callable[[Context, Images, Recipe, State, GroupCells | None], Steps]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to move synthetic images.

    `check`: raises UsageError for a recipe, or images of a size, that it cannot follow. `steps`: from a complete recipe
    and the state that a run begins in to its steps, and where they can be taken up again. `trains`: its networks are
    trained as it goes, on losses of single images, in which a risk finds a tail within a group.
    """

    check: Callable[[Recipe, int], None]
    steps: MakeSteps
    trains: bool = False


def tables(recipe: Recipe) -> tuple[Matching, Probes, Optimiser]:
    """The tables that every recipe with steps has."""
    assert recipe.matching, "only a recipe with a matching has steps"
    assert recipe.probes
    assert recipe.optimiser
    return recipe.matching, recipe.probes, recipe.optimiser
