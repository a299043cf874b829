"""The loop against a plain one, and what it must refuse."""

from __future__ import annotations

import pytest
import torch

from dgdd_cli.config import Recipe, validate
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.engine import loop
from dgdd_cli.engine.distill import distill, initial_state
from dgdd_cli.errors import DgddError, Interrupted, UnknownName, UsageError
from dgdd_cli.matching import OBJECTIVES, Objective
from dgdd_cli.matching.distribution import subset_means
from dgdd_cli.methods.complete import complete
from dgdd_cli.probes.source import probe_source
from dgdd_cli.runtime.context import Context

CPU = torch.device("cpu")


def recipe(**optimiser) -> Recipe:
    tables = {
        "matching": {"weights": "equal"},
        "probes": {"width": 8, "augment": "color_crop", "source": "bank:2"},
        "optimiser": {"steps": 3, "image_rate": 0.4, "momentum": 0.5, "decay": "linear"} | optimiser,
    }
    return complete(validate(Recipe, tables), "shapes")


def plain(source, chosen: Recipe, ipc: int) -> torch.Tensor:
    """Projected SGD with momentum, spelled out for pooled matching with equal weights: uint8 (N, 3, H, W)."""
    state = initial_state(Context(seed=0), source, chosen, ipc=ipc)
    optimiser, steps = chosen.optimiser, chosen.optimiser.steps
    at = probe_source(Context(), source, chosen.probes, source.normalisation, steps=steps)
    images, velocity = state.tensors["images"], state.velocities["images"]
    for step in range(steps):
        probe = at(step)
        pixels = images.clone().requires_grad_()
        features = probe.view(pixels)
        loss = sum((features[state.labels == c].mean(0) - probe.cells[c].mean(0)).square().sum() for c in range(3))
        loss.backward()
        velocity = optimiser.momentum * velocity + pixels.grad
        rate = optimiser.image_rate * ipc / 10
        rate *= 1 - step / steps if optimiser.decay == "linear" else 1
        images = (images - rate * velocity).clamp(0, 1)
    return (images * 255).round().to(torch.uint8)


@pytest.mark.parametrize("over", [{}, {"momentum": 0.0}, {"decay": "none"}, {"image_rate": 50.0}])
@pytest.mark.parametrize("ipc", [2, 5])
def test_the_loop_is_projected_sgd_with_momentum(shapes, over, ipc):
    source, chosen = shapes(), recipe(**over)
    ours = distill(Context(seed=0), source, chosen, ipc=ipc).images
    gap = (ours.int() - plain(source, chosen, ipc).int()).abs()
    assert int(gap.max()) <= 1  # a pixel on the edge of rounding may fall either way


@pytest.mark.parametrize("surgery", [None, {}])
def test_distilling_lowers_the_matching_loss(shapes, surgery, monkeypatch):
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0)
    losses: list[float] = []

    def listen(stage, done, total, figures=None):
        losses.extend([figures["loss"]] if figures else [])

    chosen = recipe(steps=40, image_rate=0.2)
    if surgery is not None:
        chosen = validate(Recipe, chosen.model_dump(exclude_none=True) | {"surgery": surgery})
    distill(Context(seed=0, progress=listen), shapes(), chosen, ipc=3)
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])


def test_a_diverged_run_is_an_error_and_no_picture(shapes):
    chosen = validate(Recipe, recipe().model_dump(exclude_none=True) | {"surgery": {"diversity": 1e300}})
    with pytest.raises(DgddError, match="diverged"):
        distill(Context(seed=0), shapes(), chosen, ipc=2)


def test_ctrl_c_keeps_the_last_whole_step(shapes):
    kept = []

    def interrupt(stage, done, total, figures=None):
        if stage == "distil" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="step 2 of 3"):
        distill(Context(seed=0, progress=interrupt), shapes(), recipe(), ipc=2, keep=kept.append)
    resumed = distill(Context(seed=0), shapes(), recipe(), ipc=2, state=kept[-1])
    assert kept[-1].step == 2
    assert torch.equal(resumed.images, distill(Context(seed=0), shapes(), recipe(), ipc=2).images)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"surgery": {}}, "surgery needs a matching"),
        ({"matching": {}}, "matching needs"),
        ({"optimiser": {"steps": 3}}, "makes no steps"),
        ({"probes": {}}, "no probes"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(tables, words):
    with pytest.raises(UsageError, match=words):
        complete(validate(Recipe, tables), "shapes")


def test_statistics_of_the_sources_stand_in_for_published_ones(shapes):
    from dataclasses import replace

    source = replace(shapes(), normalisation=None)
    found = normalisation_of(source)
    pixels = source.images.double() / 255
    for c in range(3):
        assert found.mean[c] == pytest.approx(float(pixels[:, c].mean()), abs=1e-5)
        assert found.std[c] == pytest.approx(float(pixels[:, c].std(correction=0)), abs=1e-5)
    published = Normalisation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "published")
    assert normalisation_of(replace(source, normalisation=published)) is published


@pytest.mark.parametrize("samples", [False, True])
@pytest.mark.parametrize("surgery", [False, True])
def test_a_new_objective_is_a_function_and_its_line_among_the_others(shapes, monkeypatch, samples, surgery):
    """Nothing else knows its name: the settings take it, and where it asks for samples the probes hold them."""
    seen = []

    def taxicab(features, members, targets):
        seen.append(targets.shape)
        means = targets.mean(1) if samples else targets
        return (subset_means(features, members) - means).abs().sum(1)

    monkeypatch.setitem(OBJECTIVES, "taxicab", Objective(taxicab, samples=samples))
    tables = recipe(image_rate=5.0).model_dump(exclude_none=True) | {"matching": {"name": "taxicab"}}
    chosen = complete(validate(Recipe, tables | ({"surgery": {}} if surgery else {})), "shapes")
    made = distill(Context(seed=0), shapes(), chosen, ipc=3).images
    assert not torch.equal(made, distill(Context(seed=0), shapes(), recipe(steps=0), ipc=3).images)
    assert {len(shape) for shape in seen} == {3 if samples else 2}


def test_an_objective_that_nobody_registered_is_refused_with_the_near_ones():
    with pytest.raises(UnknownName, match="unknown matching objective 'mdm'") as refused:
        complete(validate(Recipe, recipe().model_dump(exclude_none=True) | {"matching": {"name": "mdm"}}), "shapes")
    assert "'mmd'" in refused.value.hint
