"""`dgdd cluster`: the file it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dgdd_cli.__main__ import run
from dgdd_cli.data.load import load_dataset
from dgdd_cli.groups.file import check_groups_match, read_groups

Run = Callable[..., tuple[int, str, str]]


GROUNDS = {"amber": (230, 160, 20), "blue": (30, 60, 220), "cyan": (20, 200, 210)}


@pytest.fixture
def corners(tmp_path: Path) -> Path:
    """A folder set whose domains are noisy grounds and whose classes differ in one dark corner: 5 images a cell."""
    random = np.random.default_rng(3)
    for domain, colour in GROUNDS.items():
        for c, name in enumerate(("east", "north", "west")):
            folder = tmp_path / "corners" / domain / name
            folder.mkdir(parents=True)
            for i in range(5):
                picture = np.ones((16, 16, 3)) * np.array(colour) + random.normal(0, 12, (16, 16, 3))
                picture[:4, 4 * c : 4 * c + 4] *= 0.5
                Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "corners"


@pytest.fixture
def cluster(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, corners: Path) -> Run:
    """Run the verb on the folder of corners in an empty working folder: exit code, stdout, stderr."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))

    def call(*arguments: str, dataset: str | None = None) -> tuple[int, str, str]:
        code = run(["cluster", dataset or str(corners), "--image-size", "16", *arguments])
        found = capsys.readouterr()
        return code, found.out, found.err

    return call


def document(cluster: Run, *arguments: str) -> dict[str, Any]:
    code, out, _ = cluster("--json", *arguments)
    assert code == 0
    return json.loads(out)


def test_the_document_and_the_file_agree(cluster: Run, corners: Path) -> None:
    found = document(cluster, "--groups", "3", "--seed", "4")
    file = read_groups(found["groups_file"])
    dataset = load_dataset(str(corners), image_size=16)
    check_groups_match(file, dataset)
    assert found["schema"] == "dgdd.cluster/1"
    assert set(found) == {
        *("schema", "groups_file", "id", "dataset", "fingerprint", "domains", "images", "skipped_images"),
        *("image_size", "per", "features", "seed", "groups", "silhouette", "purity", "notes"),
    }
    assert set(found["groups"][0]) == {"group", "size", "class", "class_share", "domain", "domain_share"}
    assert [row["size"] for row in found["groups"]] == torch.bincount(file.groups).tolist()
    assert sum(row["size"] for row in found["groups"]) == found["images"] == len(dataset) == 45
    assert (found["id"], found["seed"], found["image_size"]) == (file.manifest.id, 4, 16)
    assert file.manifest.silhouette == found["silhouette"]
    assert file.group_classes is None


def test_domains_of_one_ground_each_are_the_groups_of_pixels(cluster: Run) -> None:
    found = document(cluster, "--groups", "3")
    assert found["purity"]["domain"] == 1
    assert found["purity"]["class"] == pytest.approx(1 / 3)
    assert {row["domain"] for row in found["groups"]} == {"amber", "blue", "cyan"}
    assert found["silhouette"] > 0.3


def test_auto_finds_the_three_grounds(cluster: Run) -> None:
    assert len(document(cluster, "--groups", "auto")["groups"]) == 3


@pytest.mark.parametrize("features", ["pixels", "spectrum", "convnet"])
def test_within_each_class(cluster: Run, features: str) -> None:
    found = document(cluster, "--groups", "2", "--per", "class", "--features", features)
    file = read_groups(found["groups_file"])
    assert found["purity"]["class"] == 1
    assert len(found["groups"]) == 6
    assert file.group_classes is not None
    assert file.group_classes.tolist() == [0, 0, 1, 1, 2, 2]
    assert [row["class"] for row in found["groups"]] == ["east", "east", "north", "north", "west", "west"]


def test_some_domains_only(cluster: Run, corners: Path) -> None:
    found = document(cluster, "--groups", "2", "--domains", "Cyan, amber")
    assert found["domains"] == ["cyan", "amber"]
    assert found["images"] == 30
    dataset = load_dataset(str(corners), image_size=16, domains=["cyan", "amber"])
    check_groups_match(read_groups(found["groups_file"]), dataset)


def test_same_command_same_bytes_and_the_seed_decides(cluster: Run) -> None:
    arguments = ["--groups", "4", "--features", "convnet", "-q", "--out"]
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert cluster(*arguments, name, "--seed", seed)[0] == 0
    a, b, c = (Path(name).read_bytes() for name in "abc")
    assert a == b != c


def test_small_groups_are_merged(cluster: Run) -> None:
    found = document(cluster, "--groups", "12", "--minimum", "8")
    assert len(found["groups"]) < 12
    assert min(row["size"] for row in found["groups"]) >= 8
    assert any("fewer than 8 images" in note for note in found["notes"])


def test_within_classes_small_groups_are_merged_by_default(cluster: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    for count, name, level in ((52, "few", 40), (9, "few", 200), (26, "many", 40), (26, "many", 200)):
        folder = tmp_path / "levels" / "grey" / name
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            pixels = random.integers(level - 9, level + 9, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{len(list(folder.iterdir()))}.png")
    arguments = ("--groups", "2", "--per", "class", "--json", "--image-size", "8", "--force")

    def sizes(*more: str) -> tuple[list[int], list[str]]:
        code, out, _ = cluster(*arguments, *more, dataset=str(tmp_path / "levels"))
        assert code == 0
        found = json.loads(out)
        return sorted(row["size"] for row in found["groups"]), found["notes"]

    assert sizes() == ([26, 26, 61], ["1 group with fewer than 25 images was merged into its neighbour"])
    assert sizes("--minimum", "5") == ([9, 26, 26, 52], [])


def test_one_group_says_what_that_means(cluster: Run) -> None:
    code, out, told = cluster("--groups", "1")
    assert code == 0
    assert "silhouette undefined" in out
    assert "warning: every image is in one group: a risk over groups is the mean" in told


def test_for_people(cluster: Run) -> None:
    code, out, told = cluster("--groups", "3")
    assert code == 0
    for part in ("most frequent domain", "amber", "45 images of corners", "silhouette", "purity against classes"):
        assert part in out
    assert "grouping  100 %" in told
    assert "hint: dgdd inspect groups.safetensors" in told


def test_quiet_is_the_path(cluster: Run) -> None:
    assert cluster("--groups", "3", "-q", "--out", "my groups.safetensors") == (0, "my groups.safetensors\n", "")


def test_an_existing_file_is_kept_without_force(cluster: Run) -> None:
    Path("groups.safetensors").write_text("mine")
    code, out, told = cluster("--groups", "3")
    assert (code, out) == (2, "")
    assert "--force" in told
    assert Path("groups.safetensors").read_text() == "mine"
    assert cluster("--groups", "3", "--force")[0] == 0
    assert len(read_groups("groups.safetensors")) == 45


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--groups", "0"], 2, "0 groups"),
        (["--groups", "-3"], 2, "-3 groups"),
        (["--groups", "many"], 2, "neither a number nor auto"),
        (["--groups", "9" * 5000], 2, "neither a number nor auto"),
        (["--groups", "46"], 2, "the 45 images of the dataset"),
        (["--groups", "16", "--per", "class"], 2, "the 15 images of class 'east'"),
        (["--groups", "3", "--domains", "cian"], 2, "'cyan'"),
        (["--groups", "3", "--domains", ","], 2, "names no domain"),
        (["--groups", "3", "--domains", "cyan,cyan"], 2, "named twice"),
        (["--groups", "3", "--minimum", "0"], 2, "--minimum"),
        (["--groups", "3", "--features", "pixel"], 2, "pixels"),
        (["--groups", "3", "--out", "nowhere/g.safetensors"], 2, "mkdir -p nowhere"),
        (["--groups", "3", "--out", "."], 2, "is a folder"),
    ],
)
def test_what_is_refused(cluster: Run, arguments: list[str], code: int, said: str) -> None:
    found, out, told = cluster(*arguments)
    assert (found, out) == (code, "")
    assert said in told
    assert sum(line.startswith("error: ") for line in told.splitlines()) == 1
    assert list(Path.cwd().iterdir()) == []


def test_unknown_dataset(cluster: Run) -> None:
    code, _, told = cluster("--groups", "3", dataset="pax")
    assert code == 2
    assert "hint: did you mean 'pacs'" in told


def test_a_class_without_images_gets_no_group(cluster: Run, corners: Path) -> None:
    for path in (corners / "amber" / "east").iterdir():
        path.unlink()
    found = document(cluster, "--groups", "2", "--per", "class", "--domains", "amber")
    assert {row["class"] for row in found["groups"]} == {"north", "west"}
    assert any("'east' has no images" in note for note in found["notes"])
