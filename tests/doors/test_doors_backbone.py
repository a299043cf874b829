"""A backbone from outside the package: one file (doors_shuffled.py) and one entry in NETWORKS."""

from __future__ import annotations

import json

import pytest
import torch
from doors_shuffled import Shuffled

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.config import Probes, Protocol
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.engine.checkpoint import save_checkpoint
from dgdd_cli.evaluation.together import choose_repeats
from dgdd_cli.networks import NETWORKS
from dgdd_cli.probes.view import make_view


@pytest.fixture(autouse=True)
def _entry(monkeypatch, tmp_path):
    monkeypatch.setitem(NETWORKS, "shuffled", Shuffled)
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))


def test_it_distils_and_evaluates(shapes_folder, tmp_path, capsys):
    """Frozen, its batch normalisation in evaluation mode, it makes images; another one is trained on them."""
    out, data = tmp_path / "b.safetensors", str(shapes_folder)
    network = ["--set", "probes.network=shuffled", "--probes", "bank:1", "--set", "optimiser.image_rate=30"]
    common = ["--target", "cyan", "--progress", "none"]
    still = ["distill", data, "--ipc", "2", "--image-size", "16", "--method", "sgs", *network, *common]
    assert run([*still, "--steps", "0", "--out", str(tmp_path / "start.safetensors")]) == 0
    assert run([*still, "--steps", "3", "--out", str(out)]) == 0
    made, start = load_bundle(out), load_bundle(tmp_path / "start.safetensors")
    assert made.manifest.method.settings["probes"]["network"] == "shuffled"
    assert not torch.equal(made.images, start.images)
    capsys.readouterr()
    budget = ["--network", "shuffled", "--epochs", "1", "--repeats", "1", "--dataset", data, "--progress", "none"]
    assert run(["evaluate", str(out), *budget, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["network"] == "shuffled"
    assert 0 <= result["accuracy"]["mean"] <= 1


def test_a_probe_normalises_images_as_its_backbone_asks(shapes):
    dataset = shapes(16)
    settings = Probes(network="shuffled", augment="none")
    view = make_view(dataset, settings, normalisation_of(dataset), 0, 0, torch.device("cpu"))
    assert view.mean.tolist() == pytest.approx(Shuffled.normalisation.mean)
    assert not view.network.training


FROZEN = {"batch_normalised": False, "trainable": False}


@pytest.mark.parametrize(("has", "words"), [({}, "batch normalisation"), (FROZEN, "may not be trained")])
def test_gradient_matching_refuses_what_it_cannot_train(has, words, shapes_folder, tmp_path, monkeypatch, capsys):
    for name, value in has.items():
        monkeypatch.setattr(Shuffled, name, value)
    asked = ["distill", str(shapes_folder), "--target", "cyan", "--method", "dsa", "--set", "probes.network=shuffled"]
    assert run([*asked, "--out", str(tmp_path / "b.safetensors")]) == 2
    assert words in capsys.readouterr().err


def distilled(folder, out, *more):
    small = ["--target", "cyan", "--ipc", "1", "--image-size", "16", "--progress", "none", "--out", str(out)]
    network = ["--method", "dm", "--set", "probes.network=shuffled", "--probes", "bank:2", "--steps", "2"]
    return run(["distill", str(folder), *small, *network, *more])


def test_other_weights_are_another_run_and_share_nothing_that_is_kept(shapes_folder, tmp_path, monkeypatch, capsys):
    """The same name and seed with weights from elsewhere: another bank, another manifest, no checkpoint in common."""
    drawn, loaded, counted = tmp_path / "drawn.safetensors", tmp_path / "loaded.safetensors", []
    at = Shuffled.features
    monkeypatch.setattr(Shuffled, "features", lambda own, *more: (counted.append(1), at(own, *more))[1])
    assert distilled(shapes_folder, drawn) == 0
    first, again = len(counted), len(counted)
    assert distilled(shapes_folder, drawn, "--force") == 0
    again = len(counted) - first
    assert again < first  # the bank was kept
    monkeypatch.setattr(Shuffled, "identity", "a hash of the weights")
    assert distilled(shapes_folder, loaded) == 0
    assert len(counted) - first - again >= again + 4  # not this one's: two probes see two sources
    assert "weights" not in load_bundle(drawn).manifest.method.settings["probes"]
    assert load_bundle(loaded).manifest.method.settings["probes"]["weights"] == "a hash of the weights"
    capsys.readouterr()
    assert distilled(shapes_folder, drawn, "--resume") == 2
    assert "probes.weights was not given, now a hash of the weights" in " ".join(capsys.readouterr().err.split())

    def save(path, state, identity):
        save_checkpoint(path, state, identity)
        raise KeyboardInterrupt

    other = tmp_path / "other.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dgdd_cli.engine.run.save_checkpoint", save)
        assert distilled(shapes_folder, other, "--checkpoint-every", "0") == 130
    monkeypatch.setattr(Shuffled, "identity", "other weights")
    capsys.readouterr()
    assert distilled(shapes_folder, other, "--resume") == 2
    assert "probes.weights was a hash of the weights, now other weights" in " ".join(capsys.readouterr().err.split())


def evaluated(bundle, folder, *more):
    budget = ["--network", "shuffled", "--epochs", "1", "--repeats", "1", "--dataset", str(folder)]
    return run(["evaluate", str(bundle), *budget, "--progress", "none", "--json", *more])


def test_a_student_is_trained_and_tested_on_its_own_normalisation(shapes_folder, tmp_path, monkeypatch, capsys):
    bundle, means = tmp_path / "b.safetensors", []
    assert distilled(shapes_folder, bundle) == 0
    at = Shuffled.forward

    def forward(own, images):
        if images.device.type != "meta":  # of an estimate
            means.append(float(images.mean()))
        return at(own, images)

    monkeypatch.setattr(Shuffled, "forward", forward)
    norm = Normalisation((0.0, 0.0, 0.0), (1e-3, 1e-3, 1e-3), "far from that of the bundle")
    monkeypatch.setattr(Shuffled, "normalisation", norm)
    capsys.readouterr()
    assert evaluated(bundle, shapes_folder, "--set", "augment=none") == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["network_weights"] == "drawn"
    assert len([mean for mean in means if mean > 100]) >= 2  # a batch, and the test; estimates pass noise
    assert means[-1] > 100


def test_scores_of_other_weights_are_others(shapes_folder, tmp_path, monkeypatch, capsys):
    bundle = tmp_path / "b.safetensors"
    assert distilled(shapes_folder, bundle) == 0
    capsys.readouterr()
    for identity, cached in (("drawn", 0), ("drawn", 1), ("a hash", 0), ("a hash", 1), ("another", 0)):
        monkeypatch.setattr(Shuffled, "identity", identity)
        assert evaluated(bundle, shapes_folder, "--baseline", "random") == 0
        rows = json.loads(capsys.readouterr().out)["results"]
        assert [row["network_weights"] for row in rows] == [identity] * 2
        assert rows[1]["cached_repeats"] == cached


@pytest.mark.parametrize(
    ("has", "more", "words"),
    [
        ({"trainable": False}, [], "shuffled may not be trained"),
        ({}, ["--trainer", "mixstyle"], "mixstyle mixes between the blocks of convnet and resnet18 alone"),
    ],
)
def test_evaluation_refuses_by_name_what_it_cannot_train(
    has, more, words, shapes_folder, tmp_path, monkeypatch, capsys
):
    bundle = tmp_path / "b.safetensors"
    assert distilled(shapes_folder, bundle) == 0
    for name, value in has.items():
        monkeypatch.setattr(Shuffled, name, value)
    monkeypatch.setattr("dgdd_cli.evaluation.compare.trainings", lambda *_, **__: pytest.fail("it trains"))
    assert evaluated(bundle, shapes_folder, *more) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_repeats_of_a_foreign_network_are_trained_one_by_one_and_it_says_why(monkeypatch):
    """Also one without batch normalisation: only the ConvNet has a form for several."""
    cuda = torch.device("cuda")
    assert "batch normalisation" in choose_repeats("shuffled", Protocol(), cuda, 3, image_size=16).reason
    monkeypatch.setattr(Shuffled, "batch_normalised", False)
    how = choose_repeats("shuffled", Protocol(), cuda, 3, image_size=16)
    assert (how.mode, how.reason) == ("one by one", "shuffled has no form in which several are passed at once")
    assert choose_repeats("convnet", Protocol(), cuda, 3, image_size=16).mode == "together"
