"""Groups files: round trip, rules, and the check that they belong to a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_bundles import edited, groups_facts_with, pack, unpack

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.groups.file import check_groups_match, passed_checks, read_groups, write_groups

GROUPS = torch.tensor([0, 2, 2, 1, 2])
CENTROIDS = torch.arange(12, dtype=torch.float32).reshape(3, 4)


@pytest.fixture
def groups_path(tmp_path: Path) -> Path:
    path = tmp_path / "groups.safetensors"
    write_groups(path, GROUPS, CENTROIDS, groups_facts_with())
    return path


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    classes = torch.tensor([0, 1, 1])
    written = write_groups(path, GROUPS, CENTROIDS, groups_facts_with(per="class"), group_classes=classes)
    file = read_groups(str(path))
    assert file.manifest == written
    assert torch.equal(file.groups, GROUPS)
    assert torch.equal(file.centroids, CENTROIDS)
    assert file.group_classes is not None
    assert torch.equal(file.group_classes, classes)
    assert written.groups == 3
    assert written.sizes == (1, 1, 3)
    assert len(file) == 5
    assert any("sizes recounted" in line for line in passed_checks(file))


def test_equal_arguments_give_equal_bytes(tmp_path: Path, groups_path: Path) -> None:
    write_groups(tmp_path / "again.safetensors", GROUPS.clone(), CENTROIDS.clone(), groups_facts_with())
    assert (tmp_path / "again.safetensors").read_bytes() == groups_path.read_bytes()


def test_an_empty_group_and_an_unmeasured_silhouette_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    write_groups(path, torch.tensor([0, 0]), CENTROIDS, groups_facts_with(silhouette=None))
    assert read_groups(path).manifest.sizes == (2, 0, 0)


def test_an_existing_file_survives(groups_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        write_groups(groups_path, GROUPS, CENTROIDS, groups_facts_with())
    write_groups(groups_path, GROUPS, CENTROIDS, groups_facts_with(seed=3), overwrite=True)
    assert read_groups(groups_path).manifest.seed == 3


@pytest.mark.parametrize(
    ("groups", "centroids", "group_classes", "words"),
    [
        (torch.tensor([0, 3]), CENTROIDS, None, "outside 0 to 2"),
        (torch.tensor([0, -1]), CENTROIDS, None, "holds -1"),
        (torch.tensor([], dtype=torch.int64), CENTROIDS, None, "is empty"),
        (torch.tensor([0.0]), CENTROIDS, None, "must be int64"),
        (GROUPS, CENTROIDS.double(), None, "must be float32"),
        (GROUPS, CENTROIDS * float("nan"), None, "NaN"),
        (GROUPS, torch.zeros(3, 0), None, "shape"),
        (GROUPS, CENTROIDS, torch.tensor([0, 1]), "one entry for each"),
        (GROUPS, CENTROIDS, torch.tensor([0, 1, 2]), "outside 0 to 1"),
    ],
)
def test_what_does_not_fit_together_is_not_written(
    tmp_path: Path,
    groups: torch.Tensor,
    centroids: torch.Tensor,
    group_classes: torch.Tensor | None,
    words: str,
) -> None:
    with pytest.raises(DataError, match=words):
        write_groups(tmp_path / "g", groups, centroids, groups_facts_with(), group_classes=group_classes)
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.update(sizes=[1, 1, 4]), "sizes"),
        (lambda d: d.update(groups=2), "centroids"),
        (lambda d: d.update(per="domain"), "per"),
        (lambda d: d.update(silhouette=1.5), "silhouette"),
        (lambda d: d.update(purity_class=-0.1), "purity_class"),
        (lambda d: d.update(domains=["a"]), "domain_fingerprints"),
        (lambda d: d.update(classes=["a", "a"]), "twice"),
        (lambda d: d["hashes"].update(groups="0" * 64), "not the one that was written"),
        (lambda d: d.update(extra=1), "extra"),
    ],
)
def test_manifests_that_lie(groups_path: Path, edit: Callable[[dict[str, Any]], object], words: str) -> None:
    groups_path.write_bytes(edited(groups_path.read_bytes(), edit))
    with pytest.raises(DataError, match=words) as caught:
        read_groups(groups_path)
    assert "dgdd cluster" in (caught.value.hint or "")


def test_an_unexpected_tensor_and_a_changed_manifest(groups_path: Path) -> None:
    data = groups_path.read_bytes()
    header, buffer = unpack(data)
    end = len(buffer)
    header["labels"] = {"dtype": "I64", "shape": [0], "data_offsets": [end, end]}
    groups_path.write_bytes(pack(json.dumps(header).encode(), buffer))
    with pytest.raises(DataError, match="unexpected tensor 'labels'"):
        read_groups(groups_path)
    groups_path.write_bytes(edited(data, lambda d: d.update(seed=5), resign=False))
    with pytest.raises(DataError, match="was changed"):
        read_groups(groups_path)


def test_a_bundle_is_not_a_groups_file(bundle_path: Path) -> None:
    with pytest.raises(DataError, match="is a bundle, not a groups file"):
        read_groups(bundle_path)


def toy_dataset(**changes: Any) -> DomainDataset:
    fields: dict[str, Any] = {
        "name": "toy",
        "images": torch.arange(5 * 3 * 8 * 8).remainder(251).to(torch.uint8).reshape(5, 3, 8, 8),
        "labels": torch.tensor([0, 1, 0, 1, 0]),
        "domains": torch.zeros(5, dtype=torch.int64),
        "class_names": ("cat", "dog"),
        "domain_names": ("photo",),
    }
    return DomainDataset(**(fields | changes))


def test_groups_belong_to_the_dataset_that_they_were_made_for(tmp_path: Path) -> None:
    path, dataset = tmp_path / "g.safetensors", toy_dataset()
    write_groups(path, GROUPS, CENTROIDS, groups_facts_with(fingerprint=dataset.fingerprint()))
    file = read_groups(path)
    check_groups_match(file, dataset)
    other_pixels = dataset.images.clone()
    other_pixels[0, 0, 0, 0] += 1
    for changes, words in (
        ({"images": other_pixels}, "another dataset"),
        ({"images": torch.zeros(5, 3, 16, 16, dtype=torch.uint8)}, "at 8 px"),
        ({"domain_names": ("sketch",)}, "for the domains photo"),
        ({"name": "other", "images": other_pixels}, "another dataset"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            check_groups_match(file, toy_dataset(**changes))
        assert "dgdd cluster" in (caught.value.hint or "")


def test_groups_within_classes_hold_images_of_their_class_alone(tmp_path: Path) -> None:
    dataset = toy_dataset()
    facts = groups_facts_with(fingerprint=dataset.fingerprint(), per="class")
    for name, groups in (("right", torch.tensor([0, 2, 1, 2, 0])), ("wrong", GROUPS)):
        write_groups(tmp_path / name, groups, CENTROIDS, facts, group_classes=torch.tensor([0, 0, 1]))
    check_groups_match(read_groups(tmp_path / "right"), dataset)
    with pytest.raises(DataError, match="images of another class") as caught:
        check_groups_match(read_groups(tmp_path / "wrong"), dataset)
    assert "--groups 2 --per class" in (caught.value.hint or "")  # as many as the class with the most of them


def test_the_hint_makes_groups_that_match(groups_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        check_groups_match(read_groups(groups_path), toy_dataset(name="a b", domain_names=("real world",)))
    assert "dgdd cluster 'a b' --groups 3 --per all --image-size 8 --domains 'real world'" in (caught.value.hint or "")
