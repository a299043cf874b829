"""Every repeat is trained on the set that it drew, on a device that copies what is moved to it."""

from __future__ import annotations

import pytest
import torch

import dgdd_cli.evaluation.contestant as contestant_module
import dgdd_cli.evaluation.trainings as module
from dgdd_cli.config import Protocol
from dgdd_cli.data.held import Held
from dgdd_cli.evaluation.contestant import Contestant
from dgdd_cli.evaluation.contestants import baseline_contestant
from dgdd_cli.evaluation.together import Repeats
from dgdd_cli.evaluation.trainings import trainings
from dgdd_cli.runtime.context import Context

REPEATS = 10


def every(images):
    return images.at(torch.arange(len(images)))


@pytest.fixture
def copies(monkeypatch):
    """What is moved is a new tensor, as it is where the device is not the one that images are read on."""
    to = torch.Tensor.to
    monkeypatch.setattr(contestant_module, "resident", lambda sets, device: [Held(every(own).clone()) for own in sets])
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *args, **named: to(self, *args, **named).clone())


def trained_on(contestant: Contestant, mode: str, monkeypatch, repeats=range(REPEATS)) -> tuple[list, int]:
    """The set that each repeat was trained on, and how many sets lay on the device together."""
    found, most = [], 0

    def alone(network, own, *arguments, **named):
        nonlocal most
        found.append(own)
        most = 1

    def together(networks, sets, *arguments, of, **named):
        nonlocal most
        found.extend(sets[place] for place in of)
        most = len(sets)

    monkeypatch.setattr(module, "train", alone)
    monkeypatch.setattr(module, "train_together", together)
    done = trainings(
        Context(),
        contestant,
        "convnet",
        list(repeats),
        Repeats(mode, "asked for"),
        Protocol(width=1),
        num_classes=3,
        tick=lambda images: None,
    )
    assert [repeat for repeat, _ in done] == list(repeats)
    return found, most


@pytest.mark.parametrize("mode", ["together", "one by one"])
@pytest.mark.parametrize("method", ["random", "balanced-random"])
def test_a_repeat_is_trained_on_what_it_drew(shapes, copies, monkeypatch, method, mode):
    source = shapes(size=16)
    contestant = baseline_contestant(
        Context(), method, source, ipc=2, normalisation=source.normalisation, protocol=Protocol()
    )
    found, _ = trained_on(contestant, mode, monkeypatch)
    for repeat, own in enumerate(found):
        drawn = contestant.draw(repeat)
        for seen, wanted in ((every(own.images), every(drawn.images)), (own.labels.classes, drawn.labels.classes)):
            assert torch.equal(seen, wanted), f"repeat {repeat}"
        assert torch.equal(own.domains, drawn.domains), f"repeat {repeat}"


@pytest.mark.parametrize("mode", ["together", "one by one"])
def test_one_set_for_all_repeats_is_on_the_device_once(shapes, copies, monkeypatch, mode):
    source = shapes(size=16)
    contestant = baseline_contestant(
        Context(), "whole", source, ipc=2, normalisation=source.normalisation, protocol=Protocol()
    )
    found, most = trained_on(contestant, mode, monkeypatch, range(3, 6))
    assert most == 1
    assert len({own.images.images.data_ptr() for own in found}) == 1
    assert torch.equal(every(found[0].images), source.images)
