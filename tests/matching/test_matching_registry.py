"""What an objective declares of itself is held against the recipe that asks for it."""

from __future__ import annotations

import pytest

from dgdd_cli.config import Recipe, validate
from dgdd_cli.engine.distill import distill
from dgdd_cli.errors import UsageError
from dgdd_cli.matching import OBJECTIVES, Objective, dm_losses
from dgdd_cli.methods.complete import complete
from dgdd_cli.runtime.context import Context

TABLES = {"matching": {"name": "mmd"}, "probes": {"width": 4, "source": "bank:1", "augment": "none"}, "optimiser": {}}


def test_samples_are_not_taken_from_a_bank_of_means(shapes):
    recipe = validate(Recipe, TABLES)  # not completed: no reservoir was chosen
    with pytest.raises(UsageError, match="'mmd' compares with samples") as caught:
        distill(Context(seed=0), shapes(), recipe, ipc=1)
    assert "probes.reservoir" in (caught.value.hint or "")


def test_surgery_is_refused_where_domains_have_no_losses_of_their_own(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "whole", Objective(dm_losses, by_domain=False))
    alone = TABLES | {"matching": {"name": "whole"}}
    complete(validate(Recipe, alone), "shapes")
    with pytest.raises(UsageError, match="the objective 'whole' gives none"):
        complete(validate(Recipe, alone | {"surgery": {}}), "shapes")
