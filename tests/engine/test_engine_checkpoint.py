"""A checkpoint gives back the state that was saved, of the run that saved it, or is refused in words."""

from __future__ import annotations

import random

import pytest
import torch

from dgdd_cli.engine.checkpoint import load_checkpoint, save_checkpoint
from dgdd_cli.errors import DataError, DgddError, UsageError
from dgdd_cli.methods.state import State

RUN = {"seed": 0, "optimiser.steps": 200, "risk.tail": None, "data": "a" * 64, "torch": "2.13.0", "threads": 2}


def state() -> State:
    generator = torch.Generator().manual_seed(1)
    images, velocity = (torch.rand(4, 3, 2, 2, generator=generator) for _ in range(2))
    tensors = {"images": images, "soft": torch.rand(4, 2, generator=generator)}
    velocities = {"images": velocity, "soft": torch.rand(4, 2, generator=generator)}
    return State(322, tensors, velocities, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), torch.rand(2))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "b.checkpoint"
    save_checkpoint(path, state(), RUN)
    return path


def test_what_was_saved_comes_back(saved):
    found = load_checkpoint(saved, RUN)
    assert found.step == 322
    assert list(found.tensors) == list(found.velocities) == ["images", "soft"]
    for name in ("images", "soft"):
        assert torch.equal(found.tensors[name], state().tensors[name])
        assert torch.equal(found.velocities[name], state().velocities[name])
    assert torch.equal(found.labels, state().labels)
    assert torch.equal(found.domains, state().domains)


def test_no_flipped_bit_passes(saved):
    """In the tensors, in the step, in the settings, in the header: 400 of them, and every bit of the step."""
    data = saved.read_bytes()
    step = 8 * (data.index(b"step") + 7)
    draw = random.Random(0)
    for bit in [*range(step, step + 40), *(draw.randrange(8 * len(data)) for _ in range(400))]:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(damaged)
        with pytest.raises(DataError, match="checkpoint") as caught:
            load_checkpoint(saved, RUN)
        assert caught.value.hint


def test_a_damaged_tensor_is_named_with_the_way_on(saved):
    data = bytearray(saved.read_bytes())
    at = data.index(state().velocities["images"].numpy().tobytes())
    data[at + 5] ^= 1
    saved.write_bytes(data)
    with pytest.raises(DataError, match=r"the tensor 'velocity\.images' is not the one that was written") as caught:
        load_checkpoint(saved, RUN)
    assert "--force" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 9}, "seed was 0, now 9"),
        ({"optimiser.steps": 5, "seed": 1}, "seed was 0, now 1; optimiser.steps was 200, now 5"),
        ({"data": "b" * 64}, "the data differ"),
        ({"torch": "2.14.0"}, "torch was 2.13.0, now 2.14.0"),
        ({"risk.tail": 0.5}, "risk.tail was not given, now 0.5"),
        ({"surgery.power": 1.0}, "surgery.power was not given, now 1.0"),
        ({"seed": None}, "seed was 0, now not given"),
        ({f"probes.{n}": n for n in range(20)}, "; 12 more"),
    ],
)
def test_another_run_is_told_what_differs(saved, change, words):
    before = saved.read_bytes()
    with pytest.raises(UsageError) as caught:
        load_checkpoint(saved, RUN | change)
    assert f"belongs to another run: {words}" in caught.value.message or caught.value.message.endswith(words)
    assert "--resume" in (caught.value.hint or "")
    assert saved.read_bytes() == before


def test_one_of_an_older_version_is_refused_with_the_way_on(saved):
    data = saved.read_bytes()
    saved.write_bytes(data.replace(b"dgdd.checkpoint/3", b"dgdd.checkpoint/2"))
    with pytest.raises(DgddError, match=r"dgdd\.checkpoint/2") as caught:
        load_checkpoint(saved, RUN)
    assert "--force" in (caught.value.hint or "")
