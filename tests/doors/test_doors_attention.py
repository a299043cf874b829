"""A readout from outside the package: one file (doors_attention.py) and one entry in READOUTS."""

from __future__ import annotations

import pytest
import torch
from doors_attention import attention

from dgdd_cli.config import Recipe, validate
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.engine.distill import distill
from dgdd_cli.errors import UnknownName
from dgdd_cli.matching.readout import READOUTS
from dgdd_cli.methods.complete import complete
from dgdd_cli.probes.source import probe_source
from dgdd_cli.runtime.context import Context
from dgdd_cli.synthesis.pixels import normalise, to_unit

CPU = torch.device("cpu")
PROBES = {"width": 4, "source": "bank:2", "augment": "none"}


@pytest.fixture(autouse=True)
def _entry(monkeypatch):
    monkeypatch.setitem(READOUTS, "attention", attention)


def recipe(readout: str = "attention", **over) -> Recipe:
    tables = {"matching": {"readout": readout}, "probes": PROBES, "optimiser": {"steps": 12, "image_rate": 3.0}}
    return complete(validate(Recipe, tables | over), "shapes")


@pytest.mark.parametrize("source", ["bank:2", "fresh"])
def test_a_probe_holds_the_means_of_what_is_read_out(shapes, source):
    """As wide as the maps of both blocks are large, 8 x 8 and 4 x 4: averaged over the images of a cell."""
    dataset = shapes(16)
    settings = validate(Recipe, {"probes": PROBES | {"source": source, "batch": 100}}).probes
    norm = normalisation_of(dataset)
    probe = probe_source(Context(), dataset, settings, norm, steps=2, readout="attention")(0)
    assert probe.cells.shape == (3, 3, 8 * 8 + 4 * 4)
    cell = dataset.images[(dataset.labels == 1) & (dataset.domains == 2)]
    seen = normalise(to_unit(cell), torch.tensor(norm.mean), torch.tensor(norm.std))
    torch.testing.assert_close(probe.cells[1, 2], attention(probe.view.network, seen).mean(0))


@pytest.mark.parametrize("over", [{}, {"surgery": {}}, {"risk": {"name": "cvar", "groups": "domain"}, "surgery": {}}])
def test_images_are_distilled_by_it(shapes, over):
    dataset, losses = shapes(16), []

    def listen(stage, done, total, figures=None):
        if figures:
            losses.append(figures["loss"])

    from dgdd_cli.engine import loop
    from dgdd_cli.groups.find import find_groups

    groups = find_groups(Context(), dataset, "domain") if "risk" in over else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "REPORT_SECONDS", 0)
        made = distill(Context(seed=0, progress=listen), dataset, recipe(**over), ipc=3, groups=groups)
    assert losses[-1] < losses[0]
    plain = distill(Context(seed=0), dataset, recipe("features", **over), ipc=3, groups=groups)
    assert not torch.equal(made.images, plain.images)


def test_a_name_that_nobody_registered_is_refused_with_the_near_one():
    with pytest.raises(UnknownName, match="unknown readout 'atention'") as caught:
        recipe("atention")
    assert "attention" in (caught.value.hint or "")
