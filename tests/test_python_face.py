"""The package from Python: the same results as the command line, the same errors, without a file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dgdd_cli
from dgdd_cli import DgddError, DistilledSet, cluster, distill, evaluate
from dgdd_cli.__main__ import run
from dgdd_cli.errors import DataError, UnknownName, UsageError

SMALL = {"ipc": 1, "image_size": 16, "steps": 2, "probes": "bank:1", "settings": {"probes.width": 8}}
QUICK = {"epochs": 1, "repeats": 1, "settings": {"width": 8}}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def bundle(cache):
    return distill("digits", method="dm", cache_dir=cache, **SMALL)


def test_importing_the_package_imports_no_torch():
    code = "import sys, dgdd_cli; dir(dgdd_cli); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_bundle_is_the_one_that_the_command_line_writes(bundle, cache, tmp_path):
    assert len(bundle) == 10
    out, saved = tmp_path / "command.safetensors", tmp_path / "saved.safetensors"
    arguments = ["--ipc", "1", "--image-size", "16", "--steps", "2", "--probes", "bank:1", "--set", "probes.width=8"]
    common = ["--cache-dir", str(cache), "--out", str(out), "-q"]
    assert run(["distill", "digits", "--method", "dm", *arguments, *common]) == 0
    bundle.save(saved)
    assert saved.read_bytes() == out.read_bytes()
    assert len(DistilledSet(saved)) == 10
    with pytest.raises(UsageError, match="exists already"):
        bundle.save(saved)


def test_results_are_the_rows_of_the_command_line(bundle, cache, tmp_path, capsys):
    path = tmp_path / "bundle.safetensors"
    bundle.save(path)
    results = evaluate([bundle, path], baseline="random", cache_dir=cache, **QUICK)
    arguments = [
        "--epochs",
        "1",
        "--repeats",
        "1",
        "--set",
        "width=8",
        "--baseline",
        "random",
        "--cache-dir",
        str(cache),
    ]
    capsys.readouterr()
    assert run(["evaluate", str(path), *arguments, "--cache-dir", str(cache), "--json"]) == 0
    own, baseline = json.loads(capsys.readouterr().out)["results"]
    first, second, random = results
    assert first.accuracy == second.accuracy == own["accuracy"]["mean"]
    assert random.accuracy == baseline["accuracy"]["mean"]
    assert (first.setting, first.target, first.network, first.method) == ("unseen domain", "blend", "convnet", "dm")
    assert (first.training_images, random.training_images, random.method) == (10, 10, "random")


def test_groups_are_those_of_the_command_line(cache, tmp_path):
    out = tmp_path / "groups.safetensors"
    found = cluster("digits", groups=3, image_size=16, cache_dir=cache)
    assert run(["cluster", "digits", "--groups", "3", "--image-size", "16", "--out", str(out), "-q"]) == 0
    assert found.manifest.groups == 3
    assert cluster("digits", groups=3, image_size=16, cache_dir=cache, out=out, force=True).manifest == found.manifest
    with pytest.raises(UsageError, match="exists already"):
        cluster("digits", groups=3, image_size=16, cache_dir=cache, out=out)


def test_a_file_is_written_where_one_is_named(cache, tmp_path):
    out = tmp_path / "named.safetensors"
    bundle = distill("digits", method="random", ipc=1, image_size=16, cache_dir=cache, out=out)
    assert bundle.path == out
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    with pytest.raises(UsageError, match="exists already"):
        distill("digits", method="random", ipc=1, image_size=16, cache_dir=cache, out=out)


@pytest.mark.parametrize(
    ("call", "kind", "code", "near"),
    [
        (lambda: distill("digits", method="sgss"), UnknownName, 2, "sgs"),
        (lambda: distill("digts"), DgddError, None, "digits"),
        (lambda: distill("digits", target="blnd"), UnknownName, 2, "blend"),
        (lambda: distill("digits", settings={"optimiser.step": 5}), UsageError, 2, "optimiser.steps"),
        (lambda: evaluate("missing.safetensors"), DataError, 3, ""),
        (lambda: cluster("digits", groups=0, image_size=16), UsageError, 2, "--groups"),
    ],
)
def test_errors_have_a_kind_a_code_and_the_near_name(call, kind, code, near):
    with pytest.raises(kind) as problem:
        call()
    assert code is None or problem.value.exit_code == code
    assert near in f"{problem.value.message} {problem.value.hint}"


def test_wrong_names_of_a_bundle_suggest_the_near_one(bundle):
    with pytest.raises(UnknownName, match="resnet"):
        evaluate(bundle, network="resnet")
    with pytest.raises(UnknownName, match="randm"):
        evaluate(bundle, baseline=["randm"])
    with pytest.raises(TypeError):
        evaluate(bundle, epoch=3)


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    readme = Path(dgdd_cli.__file__).parents[1] / "README.md"
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.S) if "distill(" in b]
    assert "evaluate(" in block
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    exec(compile(block, "README.md", "exec"), {})
