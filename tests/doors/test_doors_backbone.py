"""A backbone from outside the package: one file (doors_shuffled.py) and one entry in NETWORKS."""

from __future__ import annotations

import json

import pytest
import torch
from doors_shuffled import Shuffled

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.config import Probes
from dgdd_cli.data.normalisation import normalisation_of
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
