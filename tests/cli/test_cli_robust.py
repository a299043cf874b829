"""`dgdd distill` with risks over groups, with pseudo-domains, and by gradient matching: what it writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle

MATCHING = ["--set", "probes.width=4", "--probes", "bank:2"]
QUICK = ["--ipc", "2", "--image-size", "8", "--target", "cyan", "--steps", "3", "--progress", "none"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGDD_DATA", raising=False)


@pytest.fixture
def distil(shapes_folder, tmp_path):
    """Distil the folder of shapes to a named bundle: exit code."""

    def call(name: str, *more: str) -> int:
        return run(["distill", str(shapes_folder), "--out", str(tmp_path / name), *QUICK, *more])

    return call


def cluster(folder: Path, out: Path, *more: str) -> Path:
    where = ["--image-size", "8", "--domains", "amber,blue", "--groups", "2", "--out", str(out), "-q"]
    assert run(["cluster", str(folder), *where, *more]) == 0
    return out


def refusal(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize("method", ["dm", "mmd", "sgs"])
@pytest.mark.parametrize(
    "risk",
    [
        ["--risk", "cvar", "--groups", "domain", "--cvar-tail", "0.3"],
        ["--risk", "cvar", "--groups", "class-domain"],
        ["--risk", "mean-max"],
        ["--risk", "cvar-within", "--cvar-tail", "0.5"],
        ["--risk", "group-dro", "--set", "risk.rate=1"],
    ],
)
def test_a_risk_changes_the_images_and_is_in_the_manifest(distil, tmp_path, method, risk):
    assert distil("plain", "--method", method, *MATCHING) == 0
    assert distil("robust", "--method", method, *MATCHING, *risk) == 0
    plain, robust = (load_bundle(tmp_path / name) for name in ("plain", "robust"))
    assert not torch.equal(plain.images, robust.images)
    settings = robust.manifest.method.settings
    assert settings["risk"]["name"] == risk[1]
    assert set(settings["risk"]["groups"]) == {"spec", "count", "smallest", "sha256"}
    assert "risk" not in plain.manifest.method.settings


def test_the_manifest_says_what_clusters_were_found_by(distil, tmp_path):
    assert distil("b", "--method", "dm", *MATCHING, "--risk", "cvar", "--groups", "kmeans:2") == 0
    groups = load_bundle(tmp_path / "b").manifest.method.settings["risk"]["groups"]
    assert groups["spec"] == "kmeans:2"
    assert groups["features"].startswith("pixels")


def test_the_same_robust_command_writes_the_same_bytes(distil, tmp_path):
    for name in ("one", "two"):
        assert distil(name, "--method", "sgs", *MATCHING, "--risk", "group-dro") == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_groups_file_serves_as_groups_and_leaves_no_path(distil, shapes_folder, tmp_path):
    file = cluster(shapes_folder, tmp_path / "secret-name.safetensors", "--per", "class")
    assert distil("b", "--method", "dm", *MATCHING, "--risk", "cvar", "--groups", str(file)) == 0
    groups = load_bundle(tmp_path / "b").manifest.method.settings["risk"]["groups"]
    assert groups["spec"] == "file"
    assert groups["count"] == 6
    assert b"secret-name" not in (tmp_path / "b").read_bytes()


def test_pseudo_domains_take_the_place_of_domains(distil, shapes_folder, tmp_path):
    """Two clusters of two colours: the domains of the dataset stay what the bundle says, the images have none."""
    file = cluster(shapes_folder, tmp_path / "g.safetensors")
    assert distil("named", "--method", "sgs", *MATCHING) == 0
    assert distil("found", "--method", "sgs", *MATCHING, "--domains", str(file)) == 0
    assert distil("start", "--method", "sgs", *MATCHING, "--domains", str(file), "--steps", "0") == 0
    named, found = (load_bundle(tmp_path / name) for name in ("named", "found"))
    assert found.manifest.domains == ("amber", "blue")
    assert found.domains.tolist() == [-1] * 6
    assert found.manifest.method.settings["domains"]["count"] == 2
    assert found.images.shape == named.images.shape
    assert not torch.equal(found.images, load_bundle(tmp_path / "start").images)


@pytest.mark.parametrize("method", ["dc", "dsa", "rdd"])
@pytest.mark.parametrize("ipc", ["1", "4"])
def test_gradient_matching_writes_a_bundle_that_moved(distil, tmp_path, method, ipc):
    small = ["--set", "probes.width=4", "--set", "trajectory.inner=1", "--set", "trajectory.length=2", "--ipc", ipc]
    groups = ["--groups", "domain"] if method == "rdd" else []
    assert distil("b", "--method", method, *small, *groups) == 0
    assert distil("start", "--method", method, *small, *groups, "--steps", "0") == 0
    bundle, start = (load_bundle(tmp_path / name) for name in ("b", "start"))
    assert bundle.manifest.steps == 3
    assert len(bundle) == 3 * int(ipc)
    assert not torch.equal(bundle.images, start.images)


def test_rdd_finds_its_own_subgroups(distil, tmp_path, capsys):
    small = ["--set", "probes.width=4", "--set", "trajectory.inner=1"]
    assert distil("b", "--method", "rdd", *small, "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["method"] == "rdd"
    # ten images a class are too few for subgroups of 25: one is left, and that is said
    assert "a risk over the groups of a class is the mean" in captured.err
    assert load_bundle(tmp_path / "b").manifest.method.settings["risk"]["groups"]["count"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--method", "dm", "--risk", "cvar", "--cvar-tail", "0"], 2, "--cvar-tail"),
        (["--method", "dm", "--risk", "cvar", "--cvar-tail", "1.5"], 2, "--cvar-tail"),
        (["--method", "dm", "--risk", "cvar", "--cvar-tail", "nan"], 2, "--cvar-tail"),
        (["--method", "dm", "--risk", "cvra"], 2, "--risk cvar"),
        (["--method", "dm", "--risk", "cvar", "--groups", "kmeans:11"], 2, "more than the 10 images"),
        (["--method", "dm", "--risk", "cvar", "--groups", "kmeans:0"], 2, "hint"),
        (["--method", "dm", "--risk", "cvar", "--groups", "kmeans"], 2, "kmeans:"),
        (["--method", "dm", "--risk", "cvar", "--groups", "domian"], 2, "domain"),
        (["--method", "dm", "--risk", "mean", "--cvar-tail", "0.5"], 2, "has no tail"),
        (["--method", "dm", "--risk", "cvar-within", "--groups", "class-domain"], 2, "no tail"),
        (["--method", "dm", "--risk", "cvar", "--set", "risk.rate=1"], 2, "group-dro"),
        (["--method", "dsa", "--probes", "bank:5"], 2, "--probes fresh"),
        (["--method", "dsa", "--set", "surgery.power=1"], 2, "--method sgs"),
        (["--method", "dsa", "--kernels", "torch"], 2, "surgery"),
        (["--method", "dm", "--domains", "nowhere.safetensors"], 3, "nowhere.safetensors"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(distil, tmp_path, capsys, arguments, code, words):
    assert distil("b", *arguments) == code
    assert words in refusal(capsys)
    assert not (tmp_path / "b").exists()


def test_groups_or_a_tail_alone_turn_no_risk_on(distil, tmp_path, capsys, monkeypatch):
    for option in (["--groups", "class-domain"], ["--cvar-tail", "0.5"]):
        assert distil("b", "--method", "dm", *MATCHING, *option) == 2
        assert "--risk cvar" in refusal(capsys)
    assert distil("b", "--method", "dm", *MATCHING, "--risk", "mean-max", "--groups", "class-domain") == 0
    capsys.readouterr()
    tail = ["--risk", "mean-max", "--groups", "class-domain", "--cvar-tail", "0.5"]
    assert distil("c", "--method", "dm", *MATCHING, *tail) == 2
    assert "finds no tail" in refusal(capsys)


def test_a_printed_risk_gives_way_to_a_flag(shapes_folder, tmp_path, capsys):
    where = ["distill", str(shapes_folder), "--target", "cyan"]
    for method, risk in (("dm", "cvar"), ("rdd", "mean-max")):
        assert run([*where, "--method", method, "--risk", risk, "--groups", "domain", "--print-config"]) == 0
        file = tmp_path / f"{method}.toml"
        file.write_text(capsys.readouterr().out)
        for other in ("mean", "group-dro", "cvar"):
            assert run(["distill", "--config", str(file), "--risk", other, "--print-config"]) == 0
            assert f'name = "{other}"' in capsys.readouterr().out


@pytest.mark.parametrize("risk", ["cvar", "group-dro"])
def test_an_interrupted_robust_run_resumes_to_the_same_bytes(shapes_folder, tmp_path, risk, monkeypatch):
    from dgdd_cli.engine import loop

    def command(name: str, *more: str) -> int:
        where = ["distill", str(shapes_folder), "--out", str(tmp_path / name), *QUICK, *MATCHING]
        return run([*where, "--method", "dm", "--risk", risk, "--checkpoint-every", "0", *more])

    assert command("whole") == 0
    plain, seen = loop._read, []

    def interrupt(sound, figures, first, step):
        seen.append(step)
        if seen == [1, 2]:
            raise KeyboardInterrupt
        return plain(sound, figures, first, step)

    monkeypatch.setattr(loop, "_read", interrupt)
    assert command("b") == 130
    monkeypatch.setattr(loop, "_read", plain)
    assert command("b", "--resume") == 0
    assert (tmp_path / "b").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("method", ["random", "kmeans"])
def test_a_selection_method_has_no_loss_for_a_risk(shapes_folder, tmp_path, capsys, method):
    where = ["--target", "cyan", "--ipc", "2", "--image-size", "8", "--out", str(tmp_path / "b")]
    assert run(["distill", str(shapes_folder), *where, "--method", method, "--risk", "cvar"]) == 2
    assert "selects real images" in refusal(capsys)


def test_groups_of_other_images_are_refused(distil, shapes_folder, tmp_path, capsys):
    file = cluster(shapes_folder, tmp_path / "g.safetensors", "--per", "class")
    (shapes_folder / "amber" / "bar" / "pic_000.jpg").unlink()
    capsys.readouterr()
    for option in (["--risk", "cvar", "--groups", str(file)], ["--domains", str(file)]):
        assert distil("b", "--method", "dm", *MATCHING, *option) == 3
        assert "dgdd cluster" in refusal(capsys)


def test_groups_within_classes_cannot_be_domains(distil, shapes_folder, tmp_path, capsys):
    file = cluster(shapes_folder, tmp_path / "g.safetensors", "--per", "class")
    capsys.readouterr()
    assert distil("b", "--method", "sgs", *MATCHING, "--domains", str(file)) == 2
    assert "--per all" in refusal(capsys)


def test_one_group_is_said_to_be_the_mean(distil, tmp_path, capsys):
    assert distil("plain", "--method", "dm-balanced", *MATCHING, "-q") == 0
    capsys.readouterr()
    assert distil("one", "--method", "dm-balanced", *MATCHING, "--risk", "cvar", "--groups", "kmeans:1") == 0
    assert "a risk over the groups of a class is the mean" in capsys.readouterr().err
    gap = load_bundle(tmp_path / "one").images.int() - load_bundle(tmp_path / "plain").images.int()
    assert int(gap.abs().max()) <= 1  # cells of equal size: the mean of a class is the mean of its domains
