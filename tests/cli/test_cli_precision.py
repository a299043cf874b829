"""What a person reads of the precision: in the bundle, in the document and the table, and where a device has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle


def distill(folder: Path, out: Path, *more: str, method: str = "dm") -> int:
    common = ["--target", "cyan", "--ipc", "1", "--image-size", "8", "--progress", "none", "--device", "cpu", "-q"]
    if method != "kmeans":
        common += ["--steps", "1"]
    common += ["--set", "probes.width=4", "--cache-dir", str(out.parent / "cache")]
    return run(["distill", str(folder), "--method", method, "--out", str(out), *common, *more])


def evaluate(folder: Path, out: Path, *more: str) -> int:
    common = ["--epochs", "1", "--repeats", "1", "--set", "width=4", "--progress", "none", "--device", "cpu"]
    return run(
        ["evaluate", str(out), "--dataset", str(folder), "--cache-dir", str(out.parent / "cache"), *common, *more]
    )


@pytest.mark.parametrize("method", ["dm", "dsa"])
def test_tf32_without_cuda_is_refused_before_an_image_is_read(shapes_folder, tmp_path, capsys, method):
    out = tmp_path / "b.safetensors"
    probes = ["--probes", "bank:2"] if method == "dm" else []
    assert distill(shapes_folder, out, *probes, "--set", "probes.precision=tf32", method=method) == 2
    told = capsys.readouterr().err
    assert "the device 'cpu' has no TF32" in told
    assert "--set probes.precision=float32" in told
    assert not (tmp_path / "cache").exists()


def test_a_training_in_tf32_without_cuda_is_refused(shapes_folder, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    assert distill(shapes_folder, out, "--probes", "bank:2") == 0
    assert evaluate(shapes_folder, out, "--set", "precision=tf32") == 2
    assert "--set precision=float32" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["dm", "kmeans", "dsa"])
def test_bundle_and_record_name_what_was_computed_in(shapes_folder, tmp_path, monkeypatch, capsys, method):
    monkeypatch.setattr("dgdd_cli.runtime.precision.has_tf32", lambda device: True)
    out = tmp_path / "b.safetensors"
    probes = ["--probes", "bank:2"] if method == "dm" else []
    assert distill(shapes_folder, out, *probes, "--set", "probes.precision=tf32", method=method) == 0
    assert load_bundle(out).manifest.method.settings["probes"]["precision"] == "tf32"
    capsys.readouterr()
    assert evaluate(shapes_folder, out, "--set", "precision=tf32", "--json") == 0
    assert json.loads(capsys.readouterr().out)["protocol"]["precision"] == "tf32"
    assert evaluate(shapes_folder, out, "--set", "precision=tf32") == 0
    assert "tf32" in capsys.readouterr().out


def test_kept_scores_are_those_of_one_precision(shapes_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dgdd_cli.runtime.precision.has_tf32", lambda device: True)
    out = tmp_path / "b.safetensors"
    assert distill(shapes_folder, out, "--probes", "bank:2") == 0
    for precision, cached in (("float32", 0), ("tf32", 0), ("float32", 1), ("tf32", 1)):
        capsys.readouterr()
        asked = ["--set", f"precision={precision}", "--baseline", "random", "--json"]
        assert evaluate(shapes_folder, out, *asked) == 0
        baseline = json.loads(capsys.readouterr().out)["results"][1]
        assert baseline["kind"] == "baseline"
        assert baseline["cached_repeats"] == cached
