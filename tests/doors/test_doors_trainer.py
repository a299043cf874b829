"""A trainer with weight averaging is one file and one entry: used by `evaluate`, alone and in lockstep."""

from __future__ import annotations

import json

import pytest
import torch
from weight_averaging import WEIGHT_AVERAGING

from dgdd_cli.__main__ import run
from dgdd_cli.evaluation.contestant import real_images
from dgdd_cli.evaluation.feed import Chance
from dgdd_cli.evaluation.together import Repeats, train_together
from dgdd_cli.evaluation.train import predict, train
from dgdd_cli.evaluation.trainers import TRAINERS, protocol_of
from dgdd_cli.networks import build

EPOCHS = 4


@pytest.fixture(autouse=True)
def entry(monkeypatch, tmp_path):
    monkeypatch.setitem(TRAINERS, "swa", WEIGHT_AVERAGING)
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))


def network(seed: int, name: str = "convnet"):
    return build(name, num_classes=3, image_size=16, generator=torch.Generator().manual_seed(seed), width=4)


def chance(seed: int) -> Chance:
    return Chance(torch.Generator().manual_seed(50 + seed), torch.Generator().manual_seed(90 + seed))


def protocol(begin: float = 0.5):
    return protocol_of(trainer="swa", swa={"begin": begin}, augment="color_crop", batch=12, rate=0.1)


@pytest.mark.parametrize("begin", [0.0, 0.5, 0.9])
def test_the_network_ends_with_the_mean_of_its_last_weights(shapes, monkeypatch, begin):
    dataset, one, weights = shapes(size=16, per_cell=3), network(0), []
    step = torch.optim.SGD.step

    def spy(self, *arguments, **named):
        found = step(self, *arguments, **named)
        weights.append([w.detach().clone() for w in self.param_groups[0]["params"]])
        return found

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    train(one, real_images(dataset), protocol(begin), dataset.normalisation, chance(0), num_domains=3, epochs=EPOCHS)
    last = weights[int(begin * len(weights)) :]
    assert len(weights) == 3 * EPOCHS
    for found, *each in zip(one.parameters(), *last, strict=True):
        torch.testing.assert_close(found, torch.stack(each).mean(0), rtol=1e-4, atol=1e-6)
        assert not torch.equal(found, each[-1])


def test_lockstep_is_each_training_alone(shapes):
    dataset = shapes(size=16, per_cell=3)
    sets = [real_images(dataset, torch.arange(27).roll(r)) for r in range(3)]
    alone, together = ([network(r) for r in range(3)] for _ in range(2))
    given = {"num_domains": 3, "epochs": EPOCHS}
    for r, one in enumerate(alone):
        train(one, sets[r], protocol(), dataset.normalisation, chance(r), **given)
    train_together(together, sets, protocol(), dataset.normalisation, [chance(r) for r in range(3)], **given)
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)


def test_batch_normalisation_has_the_statistics_of_the_averaged_weights(shapes):
    """Those of the last step's weights are another network's."""
    dataset, one = shapes(size=16, per_cell=3), network(0, "resnet18")
    still = protocol(0.0).model_copy(update={"augment": "none", "batch": 27})
    train(one, real_images(dataset), still, dataset.normalisation, chance(0), num_domains=3, epochs=2)
    normalised = (dataset.images.float() / 255 - 0.5) / 0.25
    own = one.train()(normalised).softmax(1)  # the statistics of the whole set
    found = predict(one, dataset, still, dataset.normalisation)
    torch.testing.assert_close(found, own.detach(), rtol=0.1, atol=0.03)  # variances over n - 1 and over n


@pytest.mark.parametrize("mode", ["one by one", "together"])
def test_evaluate_takes_it_with_its_settings(shapes_folder, tmp_path, capsys, monkeypatch, mode):
    monkeypatch.setattr("dgdd_cli.evaluation.compare.choose_repeats", lambda *_, **__: Repeats(mode, "asked for"))
    out = tmp_path / "b.safetensors"
    made = ["--target", "cyan", "--ipc", "2", "--image-size", "8", "--method", "balanced-random", "--out", str(out)]
    assert run(["distill", str(shapes_folder), *made, "-q"]) == 0
    capsys.readouterr()
    asked = ["--dataset", str(shapes_folder), "--epochs", "4", "--set", "width=8", "--repeats", "2", "--json"]
    found = []
    for more in ([], ["--trainer", "swa"], ["--trainer", "swa", "--set", "swa.begin=0"]):
        assert run(["evaluate", str(out), *asked, "--progress", "none", *more]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert [document["protocol"].get("swa") for document in found] == [None, {"begin": 0.5}, {"begin": 0.0}]
    losses = [document["results"][0]["loss_cvar"]["mean"] for document in found]
    assert len(set(losses)) == 3


@pytest.mark.parametrize(
    ("arguments", "words", "hint"),
    [
        (["--set", "swa.begin=0.2"], "belong to the trainer 'swa', not to 'erm'", "--trainer swa"),
        (["--trainer", "swa", "--set", "swa.begin=1"], "swa.begin", "--set swa.begin="),
        (["--trainer", "swa", "--set", "swa.bgein=0"], "swa.bgein", "'swa.begin'"),
        (["--trainer", "sva"], "unknown trainer", "swa"),
    ],
)
def test_what_a_user_can_get_wrong(shapes_folder, tmp_path, capsys, arguments, words, hint):
    out = tmp_path / "b.safetensors"
    made = ["--target", "cyan", "--ipc", "1", "--image-size", "8", "--method", "random", "--out", str(out)]
    assert run(["distill", str(shapes_folder), *made, "-q"]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(out), "--dataset", str(shapes_folder), *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert hint in said
