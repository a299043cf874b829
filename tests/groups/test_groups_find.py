"""Groups of a dataset by name, by K-means and from a file; what is kept, said and refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.groups.features import describe
from dgdd_cli.groups.file import read_groups
from dgdd_cli.groups.find import Groups, find_groups
from dgdd_cli.groups.grouping import Grouping, group_dataset, smallest_group
from dgdd_cli.groups.kept import Kind, kept_groups, write_grouping
from dgdd_cli.groups.purity import purity
from dgdd_cli.runtime.context import Context
from dgdd_cli.storage.cache import Cache

Build = Callable[..., DomainDataset]


def find(dataset: DomainDataset, spec: str, cache: Path | None = None, seed: int = 0) -> Groups:
    return find_groups(Context(seed=seed, cache=None if cache is None else Cache(cache)), dataset, spec)


def some(dataset: DomainDataset, kept: Tensor) -> DomainDataset:
    return replace(dataset, images=dataset.images[kept], labels=dataset.labels[kept], domains=dataset.domains[kept])


def clear(shapes: Build, per_cell: int = 30) -> DomainDataset:
    """Images of their domain's ground and noise, so that the clusters of a class are its domains."""
    dataset = shapes(per_cell=per_cell)
    noise = torch.randint(60, dataset.images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    return replace(dataset, images=noise + 80 * dataset.domains.to(torch.uint8)[:, None, None, None])


def agree(groups: Groups, dataset: DomainDataset) -> None:
    """What holds of any groups."""
    count = len(groups.names)
    assert groups.assignments.shape == (len(dataset),)
    assert torch.equal(groups.sizes, torch.bincount(groups.assignments, minlength=count))
    assert len(set(groups.names)) == count == len(groups.sizes)
    assert bool((groups.sizes > 0).all())
    assert groups.digest == hashlib.sha256(groups.assignments.numpy().tobytes()).hexdigest()
    if groups.within_class:
        assert purity(groups.assignments, dataset.labels) == 1


def made_by_hand(dataset: DomainDataset, path: Path, ids: Tensor, classes: Tensor | None = None) -> str:
    """A groups file with these groups, and its name."""
    count = int(ids.max()) + 1
    found = Grouping(ids, torch.zeros(count, 2), classes, torch.bincount(ids), "by hand", None, 0.5, 0.5, ())
    write_grouping(path, dataset, found, seed=0, overwrite=True)
    return str(path)


def test_domains(shapes: Build) -> None:
    dataset = shapes()
    groups = find(dataset, "domain")
    agree(groups, dataset)
    assert torch.equal(groups.assignments, dataset.domains)
    assert groups.names == ("amber", "blue", "cyan")
    assert groups.sizes.tolist() == [18, 18, 18]
    assert (groups.within_class, groups.notes) == (False, ())


def test_cells_without_the_empty_ones(shapes: Build) -> None:
    whole = shapes()
    dataset = some(whole, ~((whole.labels == 1) & (whole.domains == 2)))
    groups = find(dataset, "class-domain")
    agree(groups, dataset)
    assert len(groups.names) == 8
    assert groups.names[:3] == ("bar in amber", "bar in blue", "bar in cyan")
    assert "box in cyan" not in groups.names
    assert groups.within_class
    for g, name in enumerate(groups.names):
        (row, *_) = (groups.assignments == g).nonzero().squeeze(1).tolist()
        assert name == f"{dataset.class_names[dataset.labels[row]]} in {dataset.domain_names[dataset.domains[row]]}"


def test_clusters_within_classes_find_the_domains(shapes: Build) -> None:
    dataset = clear(shapes)
    groups = find(dataset, "kmeans:3")
    agree(groups, dataset)
    assert groups.within_class
    assert groups.names == tuple(f"{c} cluster {k}" for c in dataset.class_names for k in (1, 2, 3))
    assert purity(groups.assignments, dataset.domains) == 1
    assert groups.notes == ()
    ours = group_dataset(Context(), dataset, groups=3, per="class")
    assert torch.equal(ours.assignments, groups.assignments)  # what `dgdd cluster --per class` finds


def test_a_rare_style_of_every_brightness_is_a_cluster(shapes: Build) -> None:
    """Shades and, a tenth of them, strokes: pixels find the bright and the dark, the spectrum finds the strokes."""
    random = torch.Generator().manual_seed(5)
    labels = torch.arange(3).repeat_interleave(300)
    rare = torch.arange(900) % 10 == 0
    light = 40 + torch.randint(170, (900, 1, 1, 1), generator=random)
    along = torch.where(rare[:, None], 40 * (torch.arange(8) % 2), torch.arange(8))
    images = (light + along[:, None, None]).expand(900, 3, 8, 8).to(torch.uint8)
    dataset = replace(shapes(), images=images, labels=labels, domains=torch.zeros_like(labels))
    found = group_dataset(Context(), dataset, groups=2, features="spectrum", per="class")
    by_pixels = find(dataset, "kmeans:2")
    assert purity(found.assignments, rare.long()) == 1
    assert found.sizes.sort().values.tolist() == [30, 30, 30, 270, 270, 270]
    assert purity(by_pixels.assignments, rare.long()) == pytest.approx(0.9)


def test_small_clusters_are_merged_and_counted(shapes: Build) -> None:
    whole = clear(shapes)
    kept = torch.ones(len(whole), dtype=torch.bool)
    kept[(whole.labels == 0) & (whole.domains == 2)] = torch.arange(30) < 10  # ten cyan bars are too few for a group
    dataset = some(whole, kept)
    groups = find(dataset, "kmeans:3")
    agree(groups, dataset)
    assert groups.names[:3] == ("bar cluster 1", "bar cluster 2", "box cluster 1")
    assert int(groups.sizes.min()) >= 25
    (note,) = groups.notes
    assert "1 class has fewer than 3 groups" in note
    assert "bar (2 groups)" in note


def test_a_class_too_small_to_split_stays_whole(shapes: Build) -> None:
    dataset = clear(shapes, per_cell=16)  # 48 images a class, and two groups need 50
    groups = find(dataset, "kmeans:2")
    agree(groups, dataset)
    assert groups.names == ("bar cluster 1", "box cluster 1", "dot cluster 1")
    assert any("3 classes have too few images" in note and "bar (48 images)" in note for note in groups.notes)
    assert any("the groups of a class is the mean" in note for note in groups.notes)


@pytest.mark.parametrize(("count", "least"), [(1, 25), (5000, 25), (5001, 26), (40_000, 200)])
def test_the_smallest_group(count: int, least: int) -> None:
    assert smallest_group(count) == least


def test_kept_clusters_are_used_again(shapes: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = clear(shapes)
    made = find(dataset, "kmeans:3", tmp_path)
    (path,) = (tmp_path / "groups").iterdir()
    assert read_groups(path).manifest.per == "class"
    monkeypatch.setattr("dgdd_cli.groups.kept.group_dataset", None)  # calling it would fail
    kept = find(dataset, "kmeans:3", tmp_path)
    assert torch.equal(kept.assignments, made.assignments)
    assert (kept.names, kept.digest, kept.notes) == (made.names, made.digest, made.notes)


def test_clusters_are_kept_apart_by_images_number_and_seed(shapes: Build, tmp_path: Path, caplog) -> None:
    dataset = clear(shapes)
    other = some(dataset, torch.arange(len(dataset)) > 0)
    for data, spec, seed in ((dataset, "kmeans:3", 0), (dataset, "kmeans:1", 0), (dataset, "kmeans:3", 1)):
        find(data, spec, tmp_path, seed)
    assert "rebuilt" not in caplog.text
    assert find(other, "kmeans:3", tmp_path).assignments.shape == (len(other),)
    find(dataset.only(("cyan", "amber", "blue")), "kmeans:3", tmp_path)
    assert len(list((tmp_path / "groups").iterdir())) == 5


def test_clusters_are_kept_apart_by_what_was_compared(shapes: Build, tmp_path: Path) -> None:
    dataset = clear(shapes)
    for features in ("pixels", "spectrum", "convnet"):
        for made in (True, False):
            found = kept_groups(Context(cache=Cache(tmp_path)), dataset, Kind(2, "class", features))
            assert found.made is made
            assert found.path is not None
            assert read_groups(found.path).manifest.features == describe(dataset, features)
    assert len(list((tmp_path / "groups").iterdir())) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("torch.__version__", "0.0"),
        ("dgdd_cli.__version__", "0.0"),
        ("dgdd_cli.groups.kept._VERSION", 0),
    ],
)
def test_clusters_of_other_software_are_not_taken(
    shapes: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    dataset = clear(shapes)
    with monkeypatch.context() as other:
        other.setattr(name, value)
        find(dataset, "kmeans:3", tmp_path)
    (theirs,) = (tmp_path / "groups").iterdir()
    assert find(dataset, "kmeans:3", tmp_path).notes == ()
    assert len(list((tmp_path / "groups").iterdir())) == 2
    assert theirs.exists()


def test_clusters_are_the_very_same_however_a_machine_rounds(
    shapes: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = clear(shapes)
    made = find(dataset, "kmeans:3", tmp_path)
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "ABACUS")
    monkeypatch.setattr("dgdd_cli.groups.kept.group_dataset", None)  # calling it would fail
    assert find(dataset, "kmeans:3", tmp_path).digest == made.digest


def test_clusters_follow_the_rows(shapes: Build, tmp_path: Path) -> None:
    dataset = clear(shapes)
    mixed = some(dataset, torch.arange(len(dataset)).view(3, -1).T.flatten())  # domains take turns
    assert mixed.fingerprint() == dataset.fingerprint()
    find(dataset, "kmeans:3", tmp_path)
    groups = find(mixed, "kmeans:3", tmp_path)
    assert groups.notes == ()
    assert groups.digest == find(mixed, "kmeans:3").digest


def three(dataset: DomainDataset, seed: int = 0, **over) -> Grouping:
    return group_dataset(Context(seed), dataset, **({"groups": 3, "per": "class"} | over))


@pytest.mark.parametrize(
    "damage", ["bytes", "other images", "more groups", "across classes", "other features", "folder"]
)
def test_kept_clusters_that_do_not_verify_are_made_anew(shapes: Build, tmp_path: Path, damage: str, caplog) -> None:
    dataset = clear(shapes)
    made = find(dataset, "kmeans:3", tmp_path)
    (path,) = (tmp_path / "groups").iterdir()
    whole = path.read_bytes()
    if damage == "bytes":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "other images":
        other = replace(dataset, images=255 - dataset.images)
        write_grouping(path, other, three(other), seed=0, overwrite=True)
    elif damage == "more groups":
        write_grouping(path, dataset, three(dataset, seed=1), seed=1, overwrite=True)
    elif damage == "across classes":
        write_grouping(path, dataset, three(dataset, per="all"), seed=0, overwrite=True)
    elif damage == "other features":
        write_grouping(path, dataset, three(dataset, features="spectrum"), seed=0, overwrite=True)
    else:
        path.unlink()
        path.mkdir()
    again = find(dataset, "kmeans:3", tmp_path)
    assert torch.equal(again.assignments, made.assignments)
    assert "the 3 clusters of amber, blue, cyan: the kept file cannot be used" in caplog.messages[0]
    if damage == "folder":
        assert "cannot be kept" in caplog.messages[1]
    else:
        assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_the_keeping(shapes: Build, tmp_path: Path, caplog) -> None:
    dataset = clear(shapes)
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    groups = find(dataset, "kmeans:3", blocked)
    assert groups.digest == find(dataset, "kmeans:3").digest
    (said,) = caplog.messages
    assert "cannot be kept" in said


def test_a_file_of_dgdd_cluster(shapes: Build, tmp_path: Path) -> None:
    dataset = clear(shapes)
    for per, within in (("all", False), ("class", True)):
        found = group_dataset(Context(), dataset, groups=2, per=per)
        write_grouping(tmp_path / per, dataset, found, seed=0, overwrite=False)
        groups = find(dataset, str(tmp_path / per))
        agree(groups, dataset)
        assert torch.equal(groups.assignments, found.assignments)
        assert groups.within_class is within
        assert groups.names[:2] == (("bar cluster 1", "bar cluster 2") if within else ("group 1", "group 2"))


def test_a_group_with_a_single_image_is_allowed_and_noted(shapes: Build, tmp_path: Path) -> None:
    dataset = shapes()
    ids = (torch.arange(len(dataset)) == 5).long()
    groups = find(dataset, made_by_hand(dataset, tmp_path / "g", ids))
    agree(groups, dataset)
    assert groups.sizes.tolist() == [len(dataset) - 1, 1]
    (note,) = groups.notes
    assert "1 group has a single image" in note
    assert "group 2" in note


def test_all_images_in_one_group(shapes: Build, tmp_path: Path) -> None:
    dataset = shapes()
    groups = find(dataset, made_by_hand(dataset, tmp_path / "g", torch.zeros(len(dataset), dtype=torch.int64)))
    agree(groups, dataset)
    assert groups.notes == ("every image is in one group: a risk over groups is the mean",)
    assert find(shapes(domains=("blue",)), "domain").notes == groups.notes


def test_groups_of_a_file_without_images_are_left_out(shapes: Build, tmp_path: Path) -> None:
    dataset = shapes()
    groups = find(dataset, made_by_hand(dataset, tmp_path / "g", dataset.domains * 2))
    agree(groups, dataset)
    assert groups.names == ("group 1", "group 3", "group 5")
    assert "2 of the 5 groups" in groups.notes[0]


def test_a_file_for_other_images_is_refused(shapes: Build, tmp_path: Path) -> None:
    dataset = shapes()
    path = made_by_hand(dataset, tmp_path / "g", dataset.domains)
    with pytest.raises(DataError, match="made for") as caught:
        find(shapes(domains=("amber", "blue")), path)
    assert "dgdd cluster shapes --groups 3 --per all --image-size 8 --domains amber,blue" in (caught.value.hint or "")
    with pytest.raises(DataError, match="at 8 px"):
        find(shapes(size=12), path)


def test_a_file_whose_groups_cross_their_classes_is_refused(shapes: Build, tmp_path: Path) -> None:
    dataset = shapes()
    path = made_by_hand(dataset, tmp_path / "g", dataset.domains, torch.tensor([0, 1, 2]))
    with pytest.raises(DataError, match="another class"):
        find(dataset, path)


@pytest.mark.parametrize(
    "spec", ["kmeans", "kmeans:", "kmeans:0", "kmeans:-2", "kmeans:two", "kmeans:3.5", "kmeans:1e9"]
)
def test_a_number_of_clusters_that_is_none(shapes: Build, spec: str) -> None:
    with pytest.raises(UsageError, match="number of groups") as caught:
        find(shapes(), spec)
    assert caught.value.hint == "--groups kmeans:5"


def test_more_groups_than_images_in_a_class(shapes: Build, tmp_path: Path) -> None:
    whole = shapes()
    dataset = some(whole, (whole.labels != 2) | (torch.arange(len(whole)) % 3 == 0))
    with pytest.raises(UsageError, match="7 groups are more than the 6 images of class 'dot'") as caught:
        find(dataset, "kmeans:7", tmp_path)
    assert "--groups kmeans:6" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "near"), [("domains", "'domain'"), ("class_domain", "'class-domain'"), ("kmean:5", "'kmeans:5'")]
)
def test_an_unknown_name_is_answered_with_the_near_one(shapes: Build, spec: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"unknown groups '{spec}'") as caught:
        find(shapes(), spec)
    assert near in (caught.value.hint or "")


def test_a_misspelt_file_is_answered_with_the_near_one(shapes: Build, tmp_path: Path) -> None:
    dataset = shapes()
    right = made_by_hand(dataset, tmp_path / "groups.safetensors", dataset.domains)
    with pytest.raises(UsageError, match="unknown groups") as caught:
        find(dataset, right.replace("groups.", "gruops."))
    assert right in (caught.value.hint or "")


def test_a_file_that_is_no_groups_file(shapes: Build, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("domain")
    with pytest.raises(DataError, match="not a valid groups file"):
        find(shapes(), str(tmp_path / "notes.txt"))
    with pytest.raises(DataError, match="is a folder"):
        find(shapes(), str(tmp_path))


def test_a_dataset_without_images(shapes: Build) -> None:
    empty = some(shapes(), torch.zeros(54, dtype=torch.bool))
    for spec in ("domain", "class-domain", "kmeans:2"):
        with pytest.raises(DataError, match="no images"):
            find(empty, spec)
