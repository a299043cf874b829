"""`--factor`: bundles of tiles at the command line, from distilling to a student's optimiser steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dgdd_cli import DistilledSet
from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.engine.checkpoint import save_checkpoint

MATCHED = {
    "dm": ["--probes", "bank:1", "--steps", "3"],
    "sgs": ["--probes", "bank:1", "--steps", "3"],
    "mmd": ["--probes", "bank:1", "--steps", "3"],
    "dsa": ["--steps", "3"],
    "rdd": ["--steps", "3", "--set", "probes.select=random"],
}
SELECTED: dict[str, list[str]] = {"random": [], "balanced-random": [], "kmeans": []}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGDD_DATA", raising=False)


@pytest.fixture
def distil(shapes_folder):
    def call(out: Path, method: str, *more: str, ipc: str = "2", size: str = "16") -> int:
        narrow = [] if method in ("random", "balanced-random") else ["--set", "probes.width=4"]
        budget = ["--ipc", ipc, "--image-size", size, *({**MATCHED, **SELECTED}[method]), *narrow]
        where = ["--target", "cyan", "--out", str(out), "--progress", "none"]
        return run(["distill", str(shapes_folder), "--method", method, *budget, *where, *more])

    return call


@pytest.mark.parametrize("method", [*MATCHED, *SELECTED])
def test_every_method_distils_tiles(method, distil, tmp_path):
    out = tmp_path / "b.safetensors"
    assert distil(out, method, "--factor", "2") == 0
    bundle = load_bundle(out)
    assert bundle.manifest.synthesis.document() == {"name": "tiles", "factor": 2}
    assert bundle.manifest.method.settings["synthesis"] == {"name": "tiles", "factor": 2}
    assert bundle.tensors["images"].shape == (6, 3, 16, 16)
    assert bundle.tile_domains is not None
    assert bundle.tile_domains.shape == (6, 4)
    distilled = DistilledSet(out)
    assert len(distilled) == 24
    assert distilled.targets == [0] * 8 + [1] * 8 + [2] * 8
    assert distilled.domain_targets == bundle.tile_domains.flatten().tolist()
    if method != "random":
        counts = torch.stack([own.bincount(minlength=2) for own in bundle.tile_domains.view(3, -1)])
        assert method == "kmeans" or (counts == 4).all()  # dealt evenly over the two sources


@pytest.mark.parametrize("method", ["dm", "random"])
def test_a_factor_of_one_is_pixels_to_the_byte(method, distil, tmp_path):
    assert distil(tmp_path / "a.safetensors", method) == 0
    assert distil(tmp_path / "b.safetensors", method, "--factor", "1") == 0
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_surgery_and_risks_look_at_every_tile_by_its_own_domain(distil, tmp_path):
    """One stored image a class holds tiles of both sources: as a whole it is mixed, and dedicated to none."""
    out = tmp_path / "b.safetensors"
    assert distil(out, "sgs", "--factor", "2", ipc="1") == 0
    bundle = load_bundle(out)
    assert bundle.domains.tolist() == [-1, -1, -1]
    assert bundle.tile_domains is not None
    assert bundle.tile_domains.tolist() == [[0, 0, 1, 1]] * 3
    assert distil(tmp_path / "c.safetensors", "sgs", "--factor", "2", "--set", "surgery.diversity=0", ipc="1") == 0
    assert not torch.equal(load_bundle(tmp_path / "c.safetensors").images, bundle.images)  # the dedicated pull acts


def test_images_repeat_where_a_class_has_fewer_than_its_tiles(distil, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    for method in SELECTED:
        assert distil(out, method, "--factor", "4", "--force", ipc="2") == 0
        assert "32 tiles a class" in capsys.readouterr().err
        images = load_bundle(out).images
        assert len(images) == 3 * 32
        assert len(images.flatten(1).unique(dim=0)) < len(images)
    assert distil(out, "random", "--factor", "16", "--force", ipc="1") == 0  # more tiles than the whole set has images
    assert load_bundle(out).images.shape == (3 * 256, 3, 16, 16)
    assert distil(out, "random", "--force", ipc="32") == 2  # single images do not repeat
    assert "--ipc 32 is above the number of images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("factor", "words"),
    [("3", "a factor of 3 does not divide images of 16 pixels"), ("0", "factor is 0"), ("-1", "factor is -1")],
)
def test_factors_that_exit_with_2_before_anything_is_read(factor, words, distil, tmp_path, capsys):
    assert distil(tmp_path / "b.safetensors", "dm", f"--factor={factor}") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert "hint: --factor" in said
    assert not (tmp_path / "b.safetensors").exists()


def test_an_interrupted_run_of_tiles_resumes_to_the_identical_file(distil, tmp_path):
    whole, resumed = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert distil(whole, "sgs", "--factor", "2") == 0

    def save(path, state, identity):
        save_checkpoint(path, state, identity)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dgdd_cli.engine.run.save_checkpoint", save)
        assert distil(resumed, "sgs", "--factor", "2", "--checkpoint-every", "0") == 130
    assert distil(resumed, "sgs", "--factor", "1", "--resume") == 2
    assert distil(resumed, "sgs", "--factor", "2", "--resume") == 0
    assert whole.read_bytes() == resumed.read_bytes()


def test_a_student_takes_as_many_steps_as_the_stored_images_would(distil, shapes_folder, tmp_path, capsys):
    tiles, pixels = tmp_path / "tiles.safetensors", tmp_path / "pixels.safetensors"
    assert distil(tiles, "dm", "--factor", "2") == 0
    assert distil(pixels, "dm") == 0
    capsys.readouterr()

    def rows(*more: str) -> list[dict]:
        small = ["--set", "width=4", "--set", "batch=4", "--repeats", "1", "--progress", "none", "--json", *more]
        assert run(["evaluate", str(tiles), str(pixels), "--dataset", str(shapes_folder), *small]) == 0
        return json.loads(capsys.readouterr().out)["results"]

    of_tiles, of_pixels = rows()
    assert of_tiles["optimiser_steps"] == of_pixels["optimiser_steps"] == 100 * 2  # 6 images are 2 batches
    assert (of_tiles["training_images"], of_tiles["stored_images"]) == (24, 6)
    assert (of_pixels["training_images"], of_pixels["stored_images"]) == (6, 6)
    assert of_tiles["stored_bytes"] == of_pixels["stored_bytes"] == 6 * (3 * 16 * 16 + 8)
    of_tiles, of_pixels = rows("--epochs", "3")  # to the letter
    assert (of_tiles["epochs"], of_tiles["optimiser_steps"]) == (3, 3 * 6)
    assert (of_pixels["epochs"], of_pixels["optimiser_steps"]) == (3, 3 * 2)
    of_tiles, of_pixels = rows("--epochs", "3", "--set", "pace=stored", "--baseline", "random")[:2]
    assert of_tiles["optimiser_steps"] == of_pixels["optimiser_steps"] == 6


def test_inspect_counts_the_tiles_of_each_domain(distil, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    assert distil(out, "balanced-random", "--factor", "2", ipc="1") == 0
    capsys.readouterr()
    assert run(["inspect", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "tiles (factor 2): 3 stored decode to 12 training images" in said
    assert "amber (6 training images), blue (6 training images) target" in said
    assert run(["inspect", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images_per_domain"] == {"amber": 6, "blue": 6}


def test_the_gallery_shows_tiles_decoded_or_as_they_are_stored(distil, tmp_path, capsys):
    out, decoded, stored = (tmp_path / name for name in ("b.safetensors", "decoded.png", "stored.png"))
    assert distil(out, "balanced-random", "--factor", "2", "--codec", "png") == 0
    assert run(["inspect", str(out), "--gallery", str(decoded)]) == 0
    assert run(["inspect", str(out), "--gallery", str(stored), "--stored"]) == 0
    bundle = load_bundle(out)
    drawn = np.asarray(Image.open(stored))
    one = bundle.stored_images()[0].permute(1, 2, 0).numpy()
    one = np.asarray(Image.fromarray(one).resize((96, 96), Image.Resampling.NEAREST))
    corners = np.argwhere((drawn[:-95, :-95] == one[0, 0]).all(2))
    assert any((drawn[y : y + 96, x : x + 96] == one).all() for y, x in corners)
    assert drawn.shape[1] < np.asarray(Image.open(decoded)).shape[1]
    capsys.readouterr()
    assert run(["inspect", str(out), "--stored"]) == 2
    assert "--gallery grid.png --stored" in " ".join(capsys.readouterr().err.split())
