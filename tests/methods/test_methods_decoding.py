"""What is stored in another way than as pixels: decoded in the step, its gradient pulled back, labels by owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dgdd_cli.config import Recipe, validate
from dgdd_cli.engine.distill import distill, initial_state
from dgdd_cli.errors import UnknownName, UsageError
from dgdd_cli.methods import method_of
from dgdd_cli.methods.complete import complete
from dgdd_cli.runtime.context import Context
from dgdd_cli.storage.layout import TensorRule
from dgdd_cli.synthesis.parameterisation import PARAMETERISATIONS
from dgdd_cli.synthesis.pixels import to_bytes, to_unit

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Quarters:
    """Four training images of half the resolution lie in one stored one, in quarters."""

    name: str = "quarters"
    factor: int = 2

    @property
    def settings(self) -> dict[str, int]:
        return {"factor": self.factor}

    @property
    def layout(self) -> dict[str, TensorRule]:
        return {"images": TensorRule("U8", 4)}

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        small = F.avg_pool2d(images, 2).unflatten(0, (-1, 2, 2))  # (N, 2, 2, 3, h, w)
        return {"images": small.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)}

    def decode(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        whole = tensors["images"]
        n, side = len(whole), whole.shape[-1] // 2
        tiles = whole.view(n, 3, 2, side, 2, side).permute(0, 2, 4, 1, 3, 5).reshape(n * 4, 3, side, side)
        return F.interpolate(tiles, scale_factor=2.0), torch.arange(n).repeat_interleave(4)

    def project(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"images": tensors["images"].clamp(0, 1)}

    def store(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"images": to_bytes(tensors["images"])}

    def load(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"images": to_unit(stored["images"])}


def quarters(settings: Mapping[str, object], size: int) -> Quarters:
    if size % 2:
        raise UsageError(f"quarters do not divide {size} px", hint="--image-size 16")
    return Quarters()


@pytest.fixture(autouse=True)
def _entry(monkeypatch):
    monkeypatch.setitem(PARAMETERISATIONS, "quarters", quarters)


def recipe(**over) -> Recipe:
    tables = {
        "synthesis": {"name": "quarters", "factor": 2},
        "matching": {},
        "probes": {"width": 4, "source": "bank:1", "augment": "none"},
        "optimiser": {"steps": 3, "image_rate": 5.0, "momentum": 0.0, "decay": "none"},
    }
    return complete(validate(Recipe, tables | over), "shapes", image_size=8)


def test_a_run_begins_with_real_images_in_its_tiles(shapes):
    dataset = shapes(8, per_cell=8)
    state = initial_state(Context(seed=0), dataset, recipe(), ipc=2)
    assert state.tensors["images"].shape == (6, 3, 8, 8)
    assert state.labels.tolist() == [0, 0, 1, 1, 2, 2]
    images, owners = Quarters().decode(state.tensors)
    assert len(images) == 24
    assert owners.tolist() == [n // 4 for n in range(24)]


def test_a_stored_pixel_gets_what_its_training_pixels_get(shapes):
    """By finite differences of the loss of decoded images under the labels of their owners."""
    dataset = shapes(8, per_cell=8)
    chosen = recipe()
    state = initial_state(Context(seed=0), dataset, chosen, ipc=1)
    steps = method_of(chosen.matching).steps(Context(), dataset, chosen, state, None)
    found = steps.gradient(state.tensors, 0, state.standing)
    gradient = found.gradients["images"]
    assert gradient.shape == state.tensors["images"].shape
    direction = gradient / gradient.norm()
    eps = 1e-2
    losses = [
        steps.gradient({"images": state.tensors["images"] + sign * eps * direction}, 0, state.standing).figures["loss"]
        for sign in (1, -1)
    ]
    torch.testing.assert_close((losses[0] - losses[1]) / (2 * eps), gradient.norm(), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    "over",
    [
        {},
        {"surgery": {}},
        {
            "matching": {"name": "gradient"},
            "trajectory": {"length": 3, "inner": 1, "batch": 6},
            "probes": {"width": 4, "source": "fresh", "batch": 5},
        },
    ],
)
def test_every_method_makes_what_is_stored(shapes, over):
    dataset = shapes(8, per_cell=8)
    made = distill(Context(seed=0), dataset, recipe(**over), ipc=2)
    assert set(made.stored) == {"images"}
    assert made.stored["images"].dtype == torch.uint8
    still = recipe(**over, optimiser={"steps": 0})
    assert not torch.equal(made.stored["images"], distill(Context(seed=0), dataset, still, ipc=2).stored["images"])


def test_a_parameterisation_that_does_not_fit_is_refused_by_name(shapes):
    with pytest.raises(UnknownName, match="unknown parameterisation 'quarter'") as caught:
        recipe(synthesis={"name": "quarter"})
    assert "quarters" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="do not divide 9 px"):
        complete(validate(Recipe, {"synthesis": {"name": "quarters", "factor": 2}}), "shapes", image_size=9)
    with pytest.raises(UsageError, match="settings are none of 'pixels'"):
        recipe(synthesis={"name": "pixels", "factor": 2})


def test_the_state_of_another_method_is_refused_by_name(shapes):
    from dataclasses import replace

    state = initial_state(Context(seed=0), shapes(8), recipe(synthesis={}), ipc=1)
    other = replace(state, step=2, tensors={"spectra": state.tensors["images"]})
    with pytest.raises(UsageError, match="of another method: it holds spectra and lacks images") as caught:
        distill(Context(seed=0), shapes(8), recipe(synthesis={}), ipc=1, state=other)
    assert "--force" in (caught.value.hint or "")
