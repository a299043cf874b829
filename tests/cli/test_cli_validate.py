"""`distill --validate` and `evaluate --target validation`: choosing without the target."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from dgdd_cli import distill as distill_in_python
from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGDD_DATA", raising=False)


@pytest.fixture
def distil(shapes_folder):
    def call(out: Path, *more: str, method: str = "balanced-random", folder: Path = shapes_folder) -> int:
        where = ["--target", "cyan", "--out", str(out), "--progress", "none", "--ipc", "1", "--image-size", "16"]
        return run(["distill", str(folder), "--method", method, *where, *more])

    return call


@pytest.fixture
def rows(shapes_folder, capsys):
    def call(*bundles: Path, target: str = "validation", more: tuple[str, ...] = (), folder: Path = shapes_folder):
        capsys.readouterr()
        small = ["--epochs", "1", "--repeats", "1", "--set", "width=4", "--progress", "none", "--json"]
        asked = ["--dataset", str(folder), "--target", target, *small, *more]
        assert run(["evaluate", *map(str, bundles), *asked]) == 0
        return json.loads(capsys.readouterr().out)["results"]

    return call


def test_the_images_left_out_are_recorded_and_tested_on(distil, rows, tmp_path, capsys):
    whole, split = tmp_path / "whole.safetensors", tmp_path / "split.safetensors"
    assert distil(whole) == 0
    assert distil(split, "--validate", "0.25") == 0
    assert "left out for validation" in capsys.readouterr().err
    one, two = load_bundle(whole).manifest, load_bundle(split).manifest
    assert two.validation is not None
    assert two.validation.share == 0.25
    counted = [sum(sum(cells.values()) for cells in manifest.source.counts.values()) for manifest in (one, two)]
    assert counted[0] - counted[1] == two.validation.images > 0
    assert two.source.domain_fingerprints == one.source.domain_fingerprints  # of whole domains: known again as sources
    assert one.validation is None
    assert "validation" not in one.document()
    (row,) = rows(split)
    assert (row["target"], row["setting"]) == ("validation", "validation")
    assert row["test_images"] == two.validation.images
    assert row["seen"]["images"] is None


def test_no_image_is_on_both_sides(distil, tmp_path, monkeypatch):
    """What a run may read of the sources, and what is tested on."""
    seen = {}
    from dgdd_cli.engine import run as engine_run

    at = engine_run.distill

    def watched(context, source, *more, **others):
        seen["kept"] = {image.numpy().tobytes() for batch in source.batches(64) for image in batch}
        return at(context, source, *more, **others)

    monkeypatch.setattr(engine_run, "distill", watched)
    split = tmp_path / "split.safetensors"
    assert distil(split, "--validate", "0.5", "--seed", "3") == 0
    from dgdd_cli.data.load import load_dataset
    from dgdd_cli.data.validation import split_validation

    folder = next(tmp_path.glob("**/shapes"), None) or next(Path(tmp_path).parent.glob("**/shapes"))
    source = load_dataset(folder, image_size=16, domains=["amber", "blue"])
    held = split_validation(source, 0.5, 3).held
    left_out = {image.numpy().tobytes() for batch in held.batches(64) for image in batch}
    assert left_out
    assert not seen["kept"] & left_out
    assert len(seen["kept"] | left_out) == len(source)


def test_baselines_are_drawn_from_what_the_bundle_had(distil, rows, tmp_path):
    split = tmp_path / "split.safetensors"
    assert distil(split, "--validate", "0.5") == 0
    own, random, whole = rows(split, more=("--baseline", "random,whole"))
    counts = load_bundle(split).manifest.source.counts
    assert whole["training_images"] == sum(sum(cells.values()) for cells in counts.values())
    assert "without the validation images of seed 0" in whole["name"]
    assert own["setting"] == random["setting"] == whole["setting"] == "validation"


def test_beside_other_targets_and_in_the_gates(distil, rows, tmp_path, shapes_folder):
    split = tmp_path / "split.safetensors"
    assert distil(split, "--validate", "0.5") == 0
    cyan, left_out = rows(split, target="cyan,validation")
    assert (cyan["setting"], left_out["setting"]) == ("unseen domain", "validation")
    (again,) = rows(split, target="Validation")
    assert again["accuracy"] == left_out["accuracy"]
    noisy = rows(split, more=("--corruptions", "noise"))
    assert [row["corruption"] for row in noisy] == [None, "noise"]
    small = ["--dataset", str(shapes_folder), "--epochs", "1", "--repeats", "1", "--set", "width=4"]
    gate = ["--target", "validation", "--min-accuracy", "1", "--progress", "none"]
    assert run(["evaluate", str(split), *small, *gate]) == 4


def test_the_target_s_labels_change_nothing(distil, rows, shapes_folder, tmp_path):
    """Its class folders are dealt anew: the bundle, the images left out and their accuracy stay the same."""
    shuffled = tmp_path / "elsewhere" / shapes_folder.name
    shutil.copytree(shapes_folder, shuffled)
    names = sorted(path.name for path in (shuffled / "cyan").iterdir())
    for name in names:
        (shuffled / "cyan" / name).rename(shuffled / "cyan" / f"{name}.moved")
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        (shuffled / "cyan" / f"{name}.moved").rename(shuffled / "cyan" / other)
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    steps = ["--probes", "bank:1", "--set", "probes.width=4", "--steps", "2", "--validate", "0.25"]
    assert distil(first, *steps, method="dm") == 0
    assert distil(second, *steps, method="dm", folder=shuffled) == 0
    assert first.read_bytes() == second.read_bytes()
    (one,), (two,) = rows(first), rows(second, folder=shuffled)
    assert one["accuracy"] == two["accuracy"]


@pytest.mark.parametrize("share", ["0", "1", "-0.2", "1.5", "nan", "x"])
def test_a_share_outside_exits_with_2_before_anything_is_read(share, distil, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dgdd_cli.engine.run.read_as", lambda *_, **__: pytest.fail("it reads"))
    assert distil(tmp_path / "b", f"--validate={share}") == 2
    assert not (tmp_path / "b").exists()


def test_what_cannot_be_split_or_tested_is_refused_in_words(distil, shapes_folder, tmp_path, capsys):
    whole, split, other = (tmp_path / f"{name}.safetensors" for name in ("whole", "split", "other"))
    assert distil(whole) == 0
    assert distil(split, "--validate", "0.5") == 0
    assert distil(other, "--validate", "0.5", "--seed", "1") == 0
    evaluate = ["--dataset", str(shapes_folder), "--target", "validation"]
    for bundles, code, words in (
        ([whole], 2, "left no images out for validation"),
        ([split, other], 2, "the bundles left different images out"),
    ):
        capsys.readouterr()
        assert run(["evaluate", *map(str, bundles), *evaluate]) == code
        assert words in " ".join(capsys.readouterr().err.split())
    assert run(["evaluate", str(split), *evaluate, "--groups", "domain"]) == 2
    assert "validation is none" in " ".join(capsys.readouterr().err.split())
    Image.new("RGB", (16, 16), (1, 2, 3)).save(shapes_folder / "amber" / "bar" / "one_more.png")
    assert run(["evaluate", str(split), *evaluate]) == 3
    assert "the sources at hand are not those of" in " ".join(capsys.readouterr().err.split())
    groups = tmp_path / "groups.safetensors"
    sources = ["--domains", "amber,blue", "--groups", "2", "--image-size", "16", "--out", str(groups)]
    assert run(["cluster", str(shapes_folder), *sources]) == 0
    risk = ["--risk", "cvar", "--groups", str(groups), "--validate", "0.5", "--force"]
    assert distil(split, *risk, method="dm") == 2
    assert "--validate leaves images out, and the groups of" in " ".join(capsys.readouterr().err.split())


def test_a_domain_of_that_name_is_named_by_its_folder(distil, shapes_folder, tmp_path, capsys):
    (shapes_folder / "cyan").rename(shapes_folder / "validation")
    split = tmp_path / "split.safetensors"
    assert run(["distill", str(shapes_folder), "--target", "validation", "--method", "random", "--ipc", "1",
                "--image-size", "16", "--validate", "0.5", "--out", str(split)]) == 0  # fmt: skip
    small = ["--dataset", str(shapes_folder), "--epochs", "1", "--repeats", "1", "--set", "width=4", "--json"]
    capsys.readouterr()
    assert run(["evaluate", str(split), *small, "--target", "validation,amber"]) == 2
    assert "--target ./validation names that domain" in " ".join(capsys.readouterr().err.split())


def test_from_python(shapes_folder, tmp_path):
    bundle = distill_in_python(
        shapes_folder, method="random", ipc=1, target="cyan", image_size=16, validate=0.5, cache_dir=tmp_path / "c"
    )
    assert bundle.manifest.validation is not None
    kept = sum(sum(cells.values()) for cells in bundle.manifest.source.counts.values())
    everything = [path for domain in ("amber", "blue") for path in (shapes_folder / domain).rglob("*.*")]
    assert bundle.manifest.validation.images == len(everything) - kept > 0
    assert torch.equal(bundle.labels, torch.arange(3))
