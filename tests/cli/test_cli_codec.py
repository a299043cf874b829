"""`--codec`: bundles whose images are encoded bytes, at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dgdd_cli import DistilledSet
from dgdd_cli.__main__ import run
from dgdd_cli.bundle.manifest import identify
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.storage.container import tensor_sha256, write_container


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGDD_DATA", raising=False)


@pytest.fixture
def distil(shapes_folder):
    def call(out: Path, *more: str, method: str = "balanced-random") -> int:
        where = ["--target", "cyan", "--out", str(out), "--progress", "none", "--ipc", "2", "--image-size", "16"]
        return run(["distill", str(shapes_folder), "--method", method, *where, *more])

    return call


@pytest.mark.parametrize("factor", ["1", "2"])
def test_png_holds_the_very_images_of_raw(distil, tmp_path, factor):
    raw, png = tmp_path / "raw.safetensors", tmp_path / "png.safetensors"
    assert distil(raw, "--factor", factor) == 0
    assert distil(png, "--factor", factor, "--codec", "png") == 0
    one, two = load_bundle(raw), load_bundle(png)
    assert torch.equal(one.images, two.images)
    assert set(two.tensors) - set(one.tensors) == {"encoded", "offsets"}
    assert "images" not in two.tensors
    assert (one.manifest.codec, two.manifest.codec) == (None, "png")
    assert "codec" not in one.manifest.document()
    assert two.training_bytes < one.training_bytes
    assert len(DistilledSet(png)) == len(DistilledSet(raw))


def test_what_is_decoded_is_what_is_evaluated_exported_and_shown(distil, shapes_folder, tmp_path, capsys):
    path = tmp_path / "b.safetensors"
    assert distil(path, "--codec", "webp:40") == 0
    bundle = load_bundle(path)
    assert bundle.manifest.software["pillow"]
    capsys.readouterr()
    budget = ["--epochs", "1", "--repeats", "1", "--set", "width=4", "--dataset", str(shapes_folder), "--json"]
    assert run(["evaluate", str(path), *budget, "--progress", "none"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert (
        row["stored_bytes"]
        == bundle.training_bytes
        == sum(bundle.tensors[name].nbytes for name in ("encoded", "offsets", "labels"))
    )
    pictures = ["--gallery", str(tmp_path / "g.png"), "--export", str(tmp_path / "out")]
    assert run(["inspect", str(path), "--verify", *pictures]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{bundle.training_bytes:,} to train on, images webp:40" in said
    assert "exactly encoded, offsets, labels, domains" in said
    assert len(list((tmp_path / "out").rglob("*.png"))) == 6


def test_the_same_command_writes_the_same_bytes_and_resumes_to_them(distil, tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    steps = ["--probes", "bank:1", "--set", "probes.width=4", "--steps", "2", "--codec", "webp:60"]
    assert distil(first, *steps, method="dm") == 0
    assert distil(second, *steps, method="dm") == 0
    assert first.read_bytes() == second.read_bytes()
    assert distil(second, *steps, "--resume", method="dm") == 0  # already finished


def test_another_codec_is_another_result(distil, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    assert distil(out) == 0
    capsys.readouterr()
    assert distil(out, "--codec", "png", "--resume") == 2
    assert "codec was raw, now png" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        ("webp:101", "from 1 to 100"),
        ("webp", "from 1 to 100"),
        ("jpeg:75", "unknown codec 'jpeg'"),
        ("png:3", "has no quality"),
    ],
)
def test_a_codec_that_is_none_exits_with_2_before_anything_is_read(codec, words, distil, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dgdd_cli.engine.run.read_as", lambda *_, **__: pytest.fail("it reads"))
    assert distil(tmp_path / "b.safetensors", "--codec", codec) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "b.safetensors").exists()


def test_the_configuration_that_is_printed_loads_again(distil, tmp_path, capsys):
    assert distil(tmp_path / "b", "--codec", "webp:75", "--print-config") == 0
    printed = capsys.readouterr().out
    assert 'codec = "webp:75"' in printed
    (tmp_path / "run.toml").write_text(printed)
    assert run(["distill", "--config", str(tmp_path / "run.toml"), "--print-config"]) == 0
    assert capsys.readouterr().out == printed


def rewritten(path: Path, **changed: object) -> Path:
    """The bundle with other tensors or manifest keys, signed anew: only what it means can be wrong."""
    bundle = load_bundle(path)
    tensors, document = dict(bundle.tensors), bundle.manifest.document()
    for key, value in changed.items():
        if isinstance(value, torch.Tensor):
            tensors[key] = value
        else:
            document[key] = value
    document["hashes"] = {name: tensor_sha256(tensor) for name, tensor in tensors.items()}
    document["id"] = identify(document)
    broken = path.with_name("broken.safetensors")
    write_container(broken, tensors, document, overwrite=True)
    return broken


def test_encoded_bytes_that_are_damaged_exit_with_3(distil, tmp_path, capsys):
    path = tmp_path / "b.safetensors"
    assert distil(path, "--codec", "png") == 0
    encoded = load_bundle(path).tensors["encoded"]
    flipped = encoded.clone()
    flipped[len(flipped) // 2] ^= 1
    size = {"height": 8, "width": 8}
    for changed, words in (
        ({"encoded": flipped}, "cannot be decoded"),
        ({"encoded": encoded[:-1]}, "does not cover the bytes"),
        ({"images": load_bundle(path).manifest.images.document() | size}, "its manifest asks 8 x 8"),
        ({"codec": "webp:75"}, "it is no lossy WebP"),
        ({"codec": "webp:0"}, "codec"),
        ({"codec": "jpeg"}, "codec"),
    ):
        capsys.readouterr()
        assert run(["inspect", str(rewritten(path, **changed))]) == 3
        assert words in " ".join(capsys.readouterr().err.split())
