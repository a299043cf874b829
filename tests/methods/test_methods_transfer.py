"""Moving to a device: many tensors in one copy; on CUDA nothing waits (the gpu tests), whatever the method."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dgdd_cli.config import Recipe, validate
from dgdd_cli.engine import loop
from dgdd_cli.engine.distill import initial_state
from dgdd_cli.engine.loop import optimise
from dgdd_cli.groups.find import find_groups
from dgdd_cli.methods import method_of
from dgdd_cli.methods.complete import complete
from dgdd_cli.methods.group_cells import group_cells_of
from dgdd_cli.methods.state import Descent, State, Steps
from dgdd_cli.progress import silent
from dgdd_cli.runtime import transfer
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import given
from dgdd_cli.synthesis.pixels import Pixels

CPU = torch.device("cpu")
PROBES = {"width": 4, "augment": "color_crop_cutout_flip_scale_rotate", "source": "bank:9"}
GRADIENT = {"matching": {"name": "gradient"}, "trajectory": {"length": 3, "inner": 2, "batch": 6}}
METHODS = {
    "dm": {},
    "sgs": {"surgery": {}},
    "mmd": {"matching": {"name": "mmd"}, "surgery": {}},
    "fresh": {"probes": PROBES | {"source": "fresh", "batch": 3}},
    "cvar": {"surgery": {}, "risk": {"name": "cvar", "groups": "domain"}},
    "group-dro": {"risk": {"name": "group-dro", "groups": "class-domain"}},
    "dsa": GRADIENT | {"probes": PROBES | {"source": "fresh", "batch": 5}},
    "rdd": GRADIENT
    | {
        "probes": PROBES | {"source": "fresh", "batch": 5, "select": "kmeans"},
        "trajectory": {"length": 3, "inner": 2, "batch": 6, "data": "real"},
        "risk": {"name": "mean-max", "groups": "class-domain"},
    },
}


def steps_of(source, name: str, device: torch.device) -> tuple[Steps, State, Recipe]:
    """The steps of a method on a device, and where they begin."""
    tables = {"matching": {}, "probes": PROBES, "optimiser": {"steps": 60}} | METHODS[name]
    recipe = complete(validate(Recipe, tables), "shapes")
    state = initial_state(Context(seed=0, chosen=given(device)), source, recipe, ipc=2)
    group_cells = None
    if recipe.risk:
        group_cells = group_cells_of(source, find_groups(Context(), source, recipe.risk.groups)).to(device)
    steps = method_of(recipe.matching).steps(Context(chosen=given(device)), source, recipe, state, group_cells)
    return steps, state if steps.standing is None else replace(state, standing=steps.standing), recipe


def test_many_tensors_travel_together(monkeypatch):
    copies = []
    monkeypatch.setattr(transfer, "to_device", lambda value, device: copies.append(value) or value.clone())
    values = [torch.arange(3), torch.zeros(0, dtype=torch.int64), torch.arange(8).view(2, 4)]
    moved = transfer.together(values, CPU)
    assert len(copies) == 1
    assert all(torch.equal(one, other) for one, other in zip(values, moved, strict=True))


@pytest.mark.parametrize("name", ["dsa", "rdd"])
def test_a_step_of_gradient_matching_moves_its_numbers_in_two_copies(shapes, name, monkeypatch):
    steps, state, _ = steps_of(shapes(per_cell=9), name, CPU)
    copies = []
    plain = transfer.to_device
    monkeypatch.setattr(transfer, "to_device", lambda value, device: copies.append(value) or plain(value, device))
    for number in range(4):
        steps.gradient(state.tensors, number, state.standing)
    assert [value.dtype for value in copies] == [torch.int64, torch.float32] * 4


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits_for_the_device(shapes, name, monkeypatch):
    """Every augmentation is recorded first; after that nothing is read back but the figures of the last step."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setattr(loop, "REPORT_SECONDS", float("inf"))
    steps, state, recipe = steps_of(shapes(per_cell=9), name, torch.device("cuda"))
    warm, total = 42, recipe.optimiser.steps

    def gradient(tensors, number, standing):
        torch.cuda.set_sync_debug_mode("error" if warm <= number < total - 1 else "default")
        return steps.gradient(tensors, number, standing)

    try:
        found = optimise(
            Context(progress=silent),
            state,
            Steps(gradient),
            total,
            descents={"images": Descent(0.1)},
            project=Pixels().project,
            keep=None,
            keep_seconds=0,
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(found.tensors["images"]).all()
