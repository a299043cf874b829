"""Distilling from a single domain: the usual setting of a training and a test set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle

QUICK = ["--ipc", "1", "--image-size", "8", "--progress", "none"]
STEPS = ["--steps", "2", "--set", "probes.width=8"]


@pytest.fixture
def train_test(shapes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    shutil.rmtree(shapes_folder / "cyan")
    (shapes_folder / "amber").rename(shapes_folder / "train")
    (shapes_folder / "blue").rename(shapes_folder / "test")
    return shapes_folder


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("random", ()),
        ("kmeans", ()),
        ("dm", (*STEPS, "--probes", "bank:1")),
        ("mmd", (*STEPS, "--probes", "bank:1")),
        ("dc", STEPS),
        ("dsa", STEPS),
    ],
)
@pytest.mark.parametrize("held_out", ["test", "none"])
def test_a_method_that_needs_no_domains_takes_one_source(
    train_test: Path, tmp_path: Path, method: str, more: tuple[str, ...], held_out: str
) -> None:
    if held_out == "none":
        shutil.rmtree(train_test / "test")
    out = tmp_path / "b.safetensors"
    arguments = ["--target", held_out, "--method", method, "--out", str(out), *QUICK, *more]
    assert run(["distill", str(train_test), *arguments]) == 0
    assert load_bundle(out).manifest.domains == ("train",)


def test_what_was_distilled_from_the_training_set_is_tested_on_the_test_set(
    train_test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b.safetensors"
    assert run(["distill", str(train_test), "--target", "test", "--method", "random", "--out", str(out), *QUICK]) == 0
    capsys.readouterr()
    protocol = ["--epochs", "1", "--repeats", "1", "--progress", "none", "--json"]
    assert run(["evaluate", str(out), "--dataset", str(train_test), *protocol]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["target"] == "test"


@pytest.mark.parametrize(
    ("arguments", "what", "cure"),
    [
        (("--method", "sgs"), "surgery", "--method dm"),
        (("--method", "dm", "--risk", "cvar", "--groups", "domain"), "the risk 'cvar'", "--groups kmeans:"),
        (("--method", "dsa", "--risk", "group-dro", "--groups", "domain"), "the risk 'group-dro'", "--groups kmeans:"),
    ],
)
def test_what_learns_from_how_domains_differ_names_itself(
    train_test: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    what: str,
    cure: str,
) -> None:
    out = tmp_path / "b.safetensors"
    assert run(["distill", str(train_test), "--target", "test", "--out", str(out), *QUICK, *arguments]) == 2
    said = capsys.readouterr().err
    assert what in said
    assert "one source domain only ('train')" in said
    assert cure in said
    assert "--target none" in said
    assert not out.exists()
    shutil.rmtree(train_test / "test")
    assert run(["distill", str(train_test), "--target", "none", "--out", str(out), *QUICK, *arguments]) == 2
    said = capsys.readouterr().err
    assert cure in said
    assert "--target none" not in said


def test_groups_may_be_the_domains_of_a_single_source(train_test: Path, tmp_path: Path) -> None:
    groups, out = tmp_path / "groups.safetensors", tmp_path / "b.safetensors"
    where = ["--image-size", "8", "--domains", "train", "--groups", "2", "--out", str(groups), "-q"]
    assert run(["cluster", str(train_test), *where]) == 0
    options = ["--target", "test", "--method", "sgs", "--domains", str(groups), "--probes", "bank:1", *STEPS]
    assert run(["distill", str(train_test), "--out", str(out), *QUICK, *options]) == 0


def test_a_set_of_one_domain_says_which_target_there_is(
    train_test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(train_test / "test")
    out = ["--out", str(tmp_path / "b.safetensors")]
    assert run(["distill", str(train_test), "--method", "random", *out, *QUICK]) == 2
    assert "--target none" in capsys.readouterr().err
    assert run(["distill", str(train_test), "--method", "random", "--target", "train", *out, *QUICK]) == 2
    said = capsys.readouterr().err
    assert "'train' is the only domain" in said
    assert "--target none" in said
