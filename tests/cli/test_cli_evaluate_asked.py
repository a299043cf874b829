"""What a user asks of `evaluate` in words and numbers: gates, targets, and a dataset whose classes must fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle

QUICK = ["--epochs", "1", "--set", "width=8", "--repeats", "1", "--progress", "none"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))


def distill(folder: Path, target: str) -> Path:
    out = folder.parent / "b.safetensors"
    arguments = ["--target", target, "--method", "random", "--ipc", "1", "--image-size", "8", "--force", "-q"]
    assert run(["distill", str(folder), *arguments, "--out", str(out)]) == 0
    return out


def evaluate(bundle: Path, folder: Path, *more: str) -> int:
    return run(["evaluate", str(bundle), "--dataset", str(folder), *QUICK, *more])


def targets_of(capsys) -> list[str]:
    return [result["target"] for result in json.loads(capsys.readouterr().out)["results"]]


@pytest.mark.parametrize("gate", ["max-gap", "min-accuracy"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("5", "0.05?"),
        ("40", "0.4?"),
        ("1.5", "0.015?"),
        ("1000", "fraction"),
        ("inf", "fraction"),
        ("nan", "fraction"),
        ("-0.1", "fraction"),
        ("-inf", "fraction"),
    ],
)
def test_a_gate_is_a_fraction(tmp_path, monkeypatch, capsys, gate, value, words):
    bundle = str(tmp_path / "absent.safetensors")  # the gate is looked at before anything is read
    assert run(["evaluate", bundle, f"--{gate}", value]) == 2
    flag = capsys.readouterr().err
    monkeypatch.setenv(f"DGDD_{gate.upper().replace('-', '_')}", value)
    assert run(["evaluate", bundle]) == 2
    assert capsys.readouterr().err == flag
    assert words in flag
    assert f"hint: --{gate} 0." in flag


def test_none_is_the_bundles_own_target(shapes_folder, monkeypatch, capsys):
    bundle = distill(shapes_folder, "cyan")
    capsys.readouterr()
    monkeypatch.setenv("DGDD_TARGET", "none")
    assert evaluate(bundle, shapes_folder, "--json") == 0
    assert targets_of(capsys) == ["cyan"]
    monkeypatch.setenv("DGDD_TARGET", "blue")
    assert evaluate(bundle, shapes_folder, "--json") == 0
    assert targets_of(capsys) == ["blue"]
    assert evaluate(bundle, shapes_folder, "--target", "none", "--json") == 0
    assert targets_of(capsys) == ["cyan"]
    bundle = distill(shapes_folder, "none")
    assert evaluate(bundle, shapes_folder, "--target", "none") == 2
    assert "holds no domain out" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["none", "None"])
def test_a_domain_called_none(shapes_folder, capsys, name):
    (shapes_folder / "amber").rename(shapes_folder / name)
    bundle = distill(shapes_folder, "cyan")
    capsys.readouterr()
    arguments = ["--target", "none", "--method", "random", "--ipc", "1"]
    assert run(["distill", str(shapes_folder), *arguments, "--out", str(bundle.with_name("n.safetensors"))]) == 2
    assert f"'{name}'" in capsys.readouterr().err
    assert evaluate(bundle, shapes_folder, "--target", "none") == 2
    assert f"hint: --target ./{name} names that domain" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["none", "None"])
def test_a_domain_called_none_is_named_by_its_folder(shapes_folder, tmp_path, capsys, name):
    (shapes_folder / "amber").rename(shapes_folder / name)
    bundle = distill(shapes_folder, f"./{name}")
    manifest = load_bundle(bundle).manifest
    assert (manifest.target, manifest.domains) == (name, ("blue", "cyan"))
    capsys.readouterr()
    assert evaluate(bundle, shapes_folder, "--json") == 0
    assert targets_of(capsys) == [name]
    assert evaluate(bundle, shapes_folder, "--target", f"./{name},cyan", "--json") == 0
    assert targets_of(capsys) == [name, "cyan"]
    arguments = [str(shapes_folder), "--target", f"./{name}", "--method", "random", "--ipc", "1"]
    assert run(["distill", *arguments, "--print-config"]) == 0
    (tmp_path / "run.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    again = tmp_path / "again.safetensors"
    assert run(["distill", "--config", str(tmp_path / "run.toml"), "--image-size", "8", "--out", str(again)]) == 0
    assert load_bundle(again).manifest.target == name


def test_a_domain_with_a_comma(shapes_folder, tmp_path, capsys):
    shutil.copytree(shapes_folder / "amber", shapes_folder / "a,b")
    for image in (shapes_folder / "a,b").rglob("pic_000.jpg"):
        image.unlink()
    (shapes_folder / "blue").rename(shapes_folder / "b")
    bundle = distill(shapes_folder, "cyan")
    capsys.readouterr()
    for asked, found in {"a,b": ["a,b"], "cyan, a,b": ["cyan", "a,b"], "a,b,b": ["a,b", "b"], "b,A,B": None}.items():
        assert evaluate(bundle, shapes_folder, "--target", asked, "--json") == (0 if found else 2)
        if found:
            assert targets_of(capsys) == found
    out = str(tmp_path / "g.safetensors")
    capsys.readouterr()
    for asked, found in {"a,b": ["a,b"], "b,a,b": ["b", "a,b"]}.items():
        arguments = ["--domains", asked, "--groups", "2", "--image-size", "8", "--out", out, "--force", "--json"]
        assert run(["cluster", str(shapes_folder), *arguments]) == 0
        assert json.loads(capsys.readouterr().out)["domains"] == found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"box": "Box"}, ["'box' written 'Box' there"]),
        ({"box": "ball"}, ["missing there: 'box'", "only there: 'ball'"]),
        ({"box": None}, ["missing there: 'box'"]),
        ({None: "tip"}, ["only there: 'tip'"]),
        (
            {"box": "b1", "bar": "b2", "dot": "b3", None: "b4", "": "b5"},
            ["only there: 'b1', 'b2', 'b3', 'b4' and 1 more"],
        ),
    ],
)
def test_other_classes_are_named(shapes_folder, tmp_path, capsys, changes, words):
    bundle = distill(shapes_folder, "cyan")
    other = tmp_path / "other"
    shutil.copytree(shapes_folder, other)
    for domain in other.iterdir():
        for old, new in changes.items():
            if not old:
                shutil.copytree(next(p for p in domain.iterdir()), domain / new)
            elif new is None:
                shutil.rmtree(domain / old)
            else:
                (domain / old).rename(domain / new)
    capsys.readouterr()
    assert evaluate(bundle, other) == 3
    said = capsys.readouterr().err
    for part in ["other classes than those of 'other'", *words]:
        assert part in said


def test_one_class_tells_nothing(shapes_folder, capsys):
    for domain in shapes_folder.iterdir():
        shutil.rmtree(domain / "box")
        shutil.rmtree(domain / "dot")
    bundle = distill(shapes_folder, "cyan")
    assert "one class only ('bar')" in capsys.readouterr().err
    assert evaluate(bundle, shapes_folder, "-q") == 0
    captured = capsys.readouterr()
    assert captured.out == "1.0000\n"
    assert "100 % means nothing" in captured.err
