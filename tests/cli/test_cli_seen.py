"""What `evaluate` and `distill` say of images that are on both sides of a split, or twice on one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run
from dgdd_cli.data.load import read_as

QUICK = ["--epochs", "1", "--set", "width=8", "--repeats", "1", "--progress", "none"]
UNSEEN, PARTLY, IN_DOMAIN = "unseen domain", "partly seen (shared images)", "in-domain (images it was made from)"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))


def distill(folder: Path, target: str, out: str = "b.safetensors") -> Path:
    path = folder.parent / out
    arguments = ["--target", target, "--method", "random", "--ipc", "1", "--image-size", "8", "--force", "-q"]
    assert run(["distill", str(folder), *arguments, "--out", str(path)]) == 0
    return path


def evaluate(bundle: Path, folder: Path, *more: str) -> int:
    return run(["evaluate", str(bundle), "--dataset", str(folder), *QUICK, *more])


def copy_images(folder: Path, count: int) -> None:
    """Some boxes of amber among the dots of cyan, under other names."""
    for image in sorted((folder / "amber" / "box").iterdir())[:count]:
        shutil.copy(image, folder / "cyan" / "dot" / f"copy_of_{image.name}")


def test_a_copy_of_a_source_is_no_target(shapes_folder, capsys):
    shutil.copytree(shapes_folder / "amber", shapes_folder / "amber_copy")
    bundle = distill(shapes_folder, "amber_copy")
    capsys.readouterr()
    assert evaluate(bundle, shapes_folder) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "'amber_copy' (15 images) is identical to the source 'amber'" in said.err
    assert "hint: --allow-seen" in said.err
    assert evaluate(bundle, shapes_folder, "--allow-seen", "--json") == 0
    captured = capsys.readouterr()
    (result,) = json.loads(captured.out)["results"]
    assert result["setting"] == IN_DOMAIN
    assert result["seen"]["identical_to"] == ["amber"]
    assert result["seen"]["images"] == 15
    for form in (["-q"], []):
        assert evaluate(bundle, shapes_folder, "--allow-seen", *form) == 0
        captured = capsys.readouterr()
        assert "identical to the source 'amber'" in captured.err
        assert form or IN_DOMAIN in captured.out


def test_a_source_under_another_name_in_another_folder(shapes_folder, tmp_path, capsys):
    bundle = distill(shapes_folder, "cyan")
    renamed = tmp_path / "renamed"
    shutil.copytree(shapes_folder, renamed)
    (renamed / "amber").rename(renamed / "foto")
    capsys.readouterr()
    assert evaluate(bundle, renamed, "--target", "foto") == 3
    assert "identical to the source 'amber'" in capsys.readouterr().err
    assert evaluate(bundle, renamed, "--target", "cyan", "--json") == 0
    captured = capsys.readouterr()
    seen = json.loads(captured.out)["results"][0]["seen"]
    assert (seen["compared_by_image"], seen["compared_by_domain"]) == (["blue"], ["amber", "blue"])
    assert "image by image with the sources blue" in captured.err
    assert "whole domains only with the sources amber of" in captured.err


def test_renamed_files_are_the_same_images(shapes_folder, capsys):
    """Another order of the files gives another fingerprint; each image is a source's all the same."""
    shutil.copytree(shapes_folder / "amber", shapes_folder / "amber_copy")
    for image in sorted((shapes_folder / "amber_copy").rglob("*.jpg")):
        image.rename(image.with_name(f"{9 - int(image.stem[-1])}.jpg"))
    bundle = distill(shapes_folder, "amber_copy")
    capsys.readouterr()
    assert evaluate(bundle, shapes_folder) == 3
    assert "has every image shared with the source 'amber'" in capsys.readouterr().err


def test_shared_images_are_counted_and_named(shapes_folder, capsys):
    copy_images(shapes_folder, 3)
    bundle = distill(shapes_folder, "cyan")
    capsys.readouterr()
    assert evaluate(bundle, shapes_folder, "--json") == 0
    captured = capsys.readouterr()
    (result,) = json.loads(captured.out)["results"]
    assert result["setting"] == PARTLY
    assert result["seen"]["images"] == 3
    assert result["seen"]["shared_with"] == {"amber": 3}
    files = [f"cyan/dot/copy_of_pic_00{i}.jpg" for i in range(3)]
    assert result["seen"]["files"] == files
    assert "'cyan' has 3 of its 18 images shared with the source 'amber'" in captured.err
    assert all(name in captured.err for name in files)
    assert evaluate(bundle, shapes_folder) == 0
    assert "partly seen (3 shared images)" in capsys.readouterr().out


def test_several_copies_count_each(shapes_folder, capsys):
    image = next((shapes_folder / "blue" / "bar").iterdir())
    for i in range(2):
        shutil.copy(image, shapes_folder / "cyan" / "bar" / f"copy_{i}.jpg")
    bundle = distill(shapes_folder, "cyan")
    capsys.readouterr()
    assert evaluate(bundle, shapes_folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["seen"]["images"] == 2


@pytest.mark.parametrize("gate", [["--max-gap", "1"], ["--min-accuracy", "0"]])
def test_no_gate_takes_a_partly_seen_target_for_an_unseen_one(shapes_folder, capsys, gate):
    bundle = distill(shapes_folder, "cyan")
    targets = ["--target", "cyan,amber"]
    assert evaluate(bundle, shapes_folder, *targets, *gate, "-q") == 0
    copy_images(shapes_folder, 3)
    capsys.readouterr()
    assert evaluate(bundle, shapes_folder, *targets, *gate, "--json") == 4
    document = json.loads(capsys.readouterr().out)
    assert document["summary"][0]["mean_unseen"] is None
    assert "unknown" in document["gate_failures"][0]
    assert evaluate(bundle, shapes_folder, "--allow-seen", "--min-accuracy", "0", "-q") == 0  # as it is, on purpose


def test_a_baseline_has_seen_what_its_sources_show(shapes_folder, capsys):
    """The bundle was made before the images were copied, so that only the baseline's own sources hold them."""
    bundle = distill(shapes_folder, "cyan")
    for image in sorted((shapes_folder / "cyan" / "box").iterdir())[:2]:
        shutil.copy(image, shapes_folder / "blue" / "bar" / image.name)
    capsys.readouterr()
    assert evaluate(bundle, shapes_folder, "--baseline", "random", "--json") == 0
    captured = capsys.readouterr()
    distilled, baseline = json.loads(captured.out)["results"]
    assert (distilled["setting"], baseline["setting"]) == (UNSEEN, PARTLY)
    assert distilled["seen"]["compared_by_image"] == ["amber"]  # blue is no longer what it was made from
    assert baseline["seen"]["shared_with"] == {"blue": 2}
    assert "2 of its 15 images shared with the source 'blue' of random" in captured.err


def test_a_source_that_cannot_be_read_is_not_at_hand(shapes_folder, capsys):
    bundle = distill(shapes_folder, "cyan")
    next((shapes_folder / "blue" / "bar").iterdir()).write_bytes(b"junk")
    capsys.readouterr()
    assert evaluate(bundle, shapes_folder, "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)["results"][0]
    assert (result["setting"], result["seen"]["compared_by_image"]) == (UNSEEN, ["amber"])
    assert "whole domains only with the sources blue" in captured.err


def test_two_sources_that_are_the_same(shapes_folder, capsys):
    shutil.copytree(shapes_folder / "amber", shapes_folder / "amber_copy")
    shutil.copy(shapes_folder / "blue" / "bar" / "pic_000.jpg", shapes_folder / "amber" / "dot" / "z.jpg")
    bundle = distill(shapes_folder, "cyan")
    said = capsys.readouterr().err
    assert "the sources 'amber' and 'amber_copy' share 15 images, of 16 and 15" in said
    assert "the sources 'amber' and 'blue' share 1 image, of 16 and 15" in said
    (shapes_folder / "amber" / "dot" / "z.jpg").unlink()
    distill(shapes_folder, "cyan")
    warning = "the sources 'amber' and 'amber_copy' are identical: 15 images"
    assert warning in capsys.readouterr().err
    assert evaluate(bundle, shapes_folder, "--baseline", "random", "-q") == 0
    assert warning in capsys.readouterr().err


def test_the_sources_of_baselines_are_read_once(shapes_folder, monkeypatch, capsys):
    bundle = distill(shapes_folder, "cyan")
    read: list[str] = []

    def counted(context, reading, located, *, domains, **more):
        read.extend(domains)
        return read_as(context, reading, located, domains=domains, **more)

    monkeypatch.setattr("dgdd_cli.evaluation.run.read_as", counted)
    capsys.readouterr()
    assert evaluate(bundle, shapes_folder, "--baseline", "random", "--json") == 0
    assert sorted(read) == ["amber", "blue", "cyan"]
    seen = json.loads(capsys.readouterr().out)["results"][0]["seen"]
    assert seen["compared_by_image"] == ["amber", "blue"]
