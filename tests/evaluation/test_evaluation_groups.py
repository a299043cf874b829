"""Groups of test images: which there are, where clusters are kept, and what is recorded of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dgdd_cli.data.arranged import joined
from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.evaluation.groups import TargetGroups, check_spec, groups_of
from dgdd_cli.evaluation.metrics import Score
from dgdd_cli.evaluation.record import record_groups, summarise_groups
from dgdd_cli.groups.file import read_groups
from dgdd_cli.groups.grouping import group_dataset
from dgdd_cli.groups.kept import write_grouping
from dgdd_cli.runtime.context import Context
from dgdd_cli.storage.cache import Cache


def under(folder: Path | None) -> Context:
    return Context(cache=None if folder is None else Cache(folder))


def clusters_of(context: Context, dataset, number: int):
    """The clusters that `kmeans:number` gives a target, and where they are kept."""
    found = groups_of(context, f"kmeans:{number}", {"it": dataset})
    return SimpleNamespace(
        assignments=found.members["it"],
        number=len(found.names),
        path=Path(found.files["it"]) if found.files else None,
    )


def targets_of(dataset, *names: str) -> dict:
    return {name: dataset.only([name]) for name in names}


def test_domains_and_cells(shapes):
    targets = targets_of(shapes(per_cell=4), "cyan", "amber")
    domains = groups_of(under(None), "domain", targets)
    assert domains.names == ("cyan", "amber")
    assert [m.unique().tolist() for m in domains.members.values()] == [[0], [1]]
    cells = groups_of(under(None), "class-domain", targets)
    assert len(cells.names) == 6
    for target, dataset in targets.items():
        named = [cells.names[g] for g in cells.members[target].tolist()]
        assert named == [f"{dataset.class_names[c]} in {target}" for c in dataset.labels.tolist()]


def test_clusters_are_made_once_and_used_again(shapes, tmp_path, caplog):
    caplog.set_level(logging.INFO, "dgdd")
    targets = targets_of(shapes(), "cyan", "amber")
    first = groups_of(under(tmp_path), "kmeans:3", targets)
    assert len(first.names) == 6
    assert [m.unique().tolist() for m in first.members.values()] == [[0, 1, 2], [3, 4, 5]]
    assert ["made, and kept in" in line for line in caplog.messages] == [True, True]
    for target, dataset in targets.items():
        expected = group_dataset(Context(), dataset, groups=3).assignments
        offset = int(first.members[target].min())
        assert torch.equal(first.members[target] - offset, expected)
        assert torch.equal(read_groups(first.files[target]).groups, expected)
    again = groups_of(under(tmp_path), "kmeans:3", dict(reversed(targets.items())))
    assert ["those kept in" in line for line in caplog.messages[2:]] == [True, True]
    assert torch.equal(again.members["cyan"] - 3, first.members["cyan"])
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert first.digest("cyan") == again.digest("cyan") != first.digest("amber")


def test_the_digest_says_which_images_are_in_which_group():
    members = torch.tensor([0, 2, 2, 0])
    here = TargetGroups("file", ("b", "c", "a"), {"cyan": members, "blue": torch.tensor([1, 1])}, {})
    assert here.present("cyan").tolist() == [2, 0]
    elsewhere = TargetGroups("file", ("a", "x", "b"), {"cyan": 2 - members}, {})
    assert here.digest("cyan") == elsewhere.digest("cyan") != here.digest("blue")
    for others in (
        TargetGroups("file", ("a", "x", "b"), {"cyan": members}, {}),
        TargetGroups("file", ("a", "x", "d"), {"cyan": 2 - members}, {}),
        TargetGroups("file", ("a", "x", "b"), {"cyan": torch.tensor([2, 0, 1, 2])}, {}),
    ):
        assert others.digest("cyan") != here.digest("cyan")


def test_the_kept_clusters_are_what_is_used(shapes, tmp_path):
    """A kept file is read, not made again: other assignments in it come back."""
    dataset = shapes().only(["cyan"])
    path = clusters_of(under(tmp_path), dataset, 3).path
    found = group_dataset(Context(), dataset, groups=3)
    moved = (found.assignments + 1) % 3
    write_grouping(path, dataset, replace(found, assignments=moved), seed=0, overwrite=True)
    assert torch.equal(clusters_of(under(tmp_path), dataset, 3).assignments, moved)


def per_of(damage: str) -> str:
    return "class" if damage == "per class" else "all"


@pytest.mark.parametrize("damage", ["garbage", "other images", "another seed", "per class", "empty", "folder"])
def test_kept_clusters_that_do_not_fit_are_rebuilt_and_said_so(shapes, tmp_path, damage, caplog):
    dataset = shapes().only(["cyan"])
    made = clusters_of(under(tmp_path), dataset, 3)
    if damage in ("garbage", "empty"):
        made.path.write_bytes(b"\xff" * 100 if damage == "garbage" else b"")
    elif damage == "folder":
        made.path.unlink()
        made.path.mkdir()
    else:
        other = shapes().only(["blue"]) if damage == "other images" else dataset
        found = group_dataset(Context(), other, groups=2 if damage == "per class" else 3, per=per_of(damage))
        write_grouping(made.path, other, found, seed=int(damage == "another seed"), overwrite=True)
    again = clusters_of(under(tmp_path), dataset, 3)
    assert torch.equal(again.assignments, made.assignments)
    assert "the 3 clusters of cyan: the kept file cannot be used" in caplog.messages[0]
    if damage != "folder":
        assert torch.equal(read_groups(made.path).groups, made.assignments)


def test_other_images_have_other_clusters(shapes, tmp_path):
    dataset = shapes().only(["cyan"])
    first = clusters_of(under(tmp_path), dataset, 3)
    changed = clusters_of(under(tmp_path), replace(dataset, images=255 - dataset.images), 3)
    assert first.path != changed.path
    assert first.path.exists()
    assert clusters_of(under(tmp_path), dataset, 2).path != first.path


def test_clusters_of_another_torch_are_not_taken(shapes, tmp_path, monkeypatch, caplog):
    dataset = shapes().only(["cyan"])
    first = clusters_of(under(tmp_path), dataset, 3)
    monkeypatch.setattr("torch.__version__", "0.0")
    assert clusters_of(under(tmp_path), dataset, 3).path != first.path
    assert "cannot be used" not in caplog.text


def test_a_cache_that_cannot_be_written_is_no_failure(shapes, tmp_path, caplog):
    (tmp_path / "groups").write_text("a file where the folder should be")
    found = clusters_of(under(tmp_path), shapes().only(["cyan"]), 3)
    assert (found.number, found.path) == (3, None)
    assert "the 3 clusters of cyan cannot be kept" in caplog.text


def test_a_groups_file_must_be_of_these_images(shapes, tmp_path):
    dataset = shapes()
    targets = targets_of(dataset, "cyan", "amber")
    together = joined(targets)
    assert together.domain_fingerprints() == dataset.only(["cyan", "amber"]).domain_fingerprints()
    found = group_dataset(Context(), together, groups=4, per="class")
    path = tmp_path / "g.safetensors"
    write_grouping(path, together, found, seed=0, overwrite=False)
    groups = groups_of(under(None), str(path), targets)
    assert groups.names[0] == "bar cluster 1"
    assert len(groups.names) == len(found.sizes)
    assert torch.equal(torch.cat(list(groups.members.values())), found.assignments)
    for wrong in (
        targets_of(dataset, "cyan"),
        targets_of(dataset, "amber", "cyan"),
        targets_of(dataset, "cyan", "blue"),
    ):
        with pytest.raises(DataError, match="these groups were made for"):
            groups_of(under(None), str(path), wrong)


@pytest.mark.parametrize("spec", ["domian", "kmeans", "kmeans:0", "kmeans:-1", "kmeans:x", "kmeans:" + "9" * 500, ""])
def test_a_spec_that_means_nothing(spec):
    with pytest.raises(UsageError) as caught:
        check_spec(spec)
    assert "kmeans:10" in caught.value.hint


def test_more_clusters_than_images_of_the_smallest_target(shapes, tmp_path):
    targets = targets_of(shapes(), "amber", "cyan")
    fewer = targets["cyan"]
    targets["cyan"] = replace(fewer, images=fewer.images[:7], labels=fewer.labels[:7], domains=fewer.domains[:7])
    with pytest.raises(UsageError, match="8 clusters are more than the 7 images of 'cyan'") as caught:
        groups_of(under(tmp_path), "kmeans:8", targets)
    hint = caught.value.hint
    assert hint == "--groups kmeans:7 or fewer"  # nothing else that evaluate would not take
    assert list(tmp_path.iterdir()) == []
    taken = hint.split()[1]
    check_spec(taken)
    assert len(groups_of(under(tmp_path), taken, targets).names) == 14


def score_of(*shares: float) -> Score:
    return Score(0.5, torch.empty(0), 0.1, 1.0, torch.tensor(shares, dtype=torch.float64))


NAN = float("nan")


def test_what_is_recorded_of_groups():
    groups = TargetGroups("kmeans:3", ("a", "b", "c"), {"cyan": torch.tensor([0] * 30 + [2] * 24)}, {})
    entry = record_groups([score_of(0.9, NAN, 0.5), score_of(0.3, NAN, 0.7)], "cyan", groups)
    assert entry["groups"] == [
        {"group": "a", "images": 30, "accuracy": pytest.approx(0.6), "small": False},
        {"group": "c", "images": 24, "accuracy": pytest.approx(0.6), "small": True},
    ]
    assert entry["adjusted_accuracy"]["values"] == pytest.approx([0.7, 0.5])
    assert entry["cluster_min"]["values"] == pytest.approx([0.5, 0.3])
    assert entry["worst_group"]["group"] == "a"
    domains = TargetGroups("domain", ("cyan",), {"cyan": torch.zeros(9, dtype=torch.int64)}, {})
    assert "cluster_min" not in record_groups([score_of(0.5)], "cyan", domains)


def test_a_small_group_is_flagged_and_still_the_worst():
    groups = TargetGroups("domain", ("a", "b"), {"cyan": torch.tensor([0] * 30 + [1])}, {})
    assert record_groups([score_of(0.9, 0.0)], "cyan", groups)["worst_group"] == {
        "group": "b",
        "images": 1,
        "accuracy": 0.0,
        "small": True,
    }


def test_the_summary_pools_groups_over_targets():
    groups = TargetGroups(
        "g.safetensors", ("a", "b"), {"cyan": torch.tensor([0] * 30 + [1] * 10), "blue": torch.tensor([0] * 10)}, {}
    )
    entries = [
        record_groups([score_of(0.5, 0.8)], "cyan", groups),
        record_groups([score_of(0.9, NAN)], "blue", groups),
    ]
    summary = summarise_groups(entries)
    assert summary["worst_group"] == {"group": "a", "images": 40, "accuracy": pytest.approx(0.6), "small": False}
    assert summary["adjusted_accuracy"] == pytest.approx(0.7)
    assert summarise_groups([{"accuracy": 1}]) == {}
