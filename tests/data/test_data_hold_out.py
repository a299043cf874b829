from __future__ import annotations

from pathlib import Path

import pytest
import torch
from data_pictures import draw_tree

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.hold_out import check_cells, missing_classes, split_domains, target_of
from dgdd_cli.data.load import locate
from dgdd_cli.errors import DataError, UnknownName, UsageError


def dataset(cells: list[tuple[int, int]]) -> DomainDataset:
    """One image for each (class, domain) given; classes x, y and domains a, b."""
    labels, domains = (torch.tensor([cell[i] for cell in cells]) for i in (0, 1))
    return DomainDataset(
        "mine", torch.zeros(len(cells), 3, 8, 8, dtype=torch.uint8), labels, domains, ("x", "y"), ("a", "b")
    )


@pytest.mark.parametrize("target", [None, "none", "None"])
def test_nothing_held_out(target: str | None) -> None:
    assert split_domains(locate("digits"), target) == (("scan", "blend", "outline", "typeset"), None)


def test_the_target_is_left_out_under_its_canonical_name() -> None:
    assert split_domains(locate("digits"), "SCAN") == (("blend", "outline", "typeset"), "scan")


def test_an_unknown_target_gets_the_near_match() -> None:
    with pytest.raises(UnknownName) as caught:
        split_domains(locate("digits"), "typset")
    assert "'typeset'" in str(caught.value.hint)


@pytest.mark.parametrize("target", ["scan,outline", "SCAN, outline,typeset"])
def test_several_targets_are_told_apart_from_an_unknown_one(target: str) -> None:
    with pytest.raises(UsageError, match=rf"holds out one domain, not {target.count(',') + 1}"):
        split_domains(locate("digits"), target)
    with pytest.raises(UnknownName, match="'outlin'"):
        split_domains(locate("digits"), "scan,outlin")


def test_a_domain_may_be_named_by_its_folder() -> None:
    located = locate("digits")
    assert split_domains(located, "./scan") == split_domains(located, "scan")
    assert [target_of(name) for name in ("scan", "none", "None", None)] == ["scan", "./none", "./None", "none"]


@pytest.mark.parametrize("target", [None, "none"])
def test_a_set_of_one_domain_is_its_own_source(tmp_path: Path, target: str | None) -> None:
    located = locate(str(draw_tree(tmp_path, {"a": ["x"]})))
    assert split_domains(located, target) == (("a",), None)


def test_the_only_domain_cannot_be_held_out(tmp_path: Path) -> None:
    located = locate(str(draw_tree(tmp_path, {"a": ["x"]})))
    with pytest.raises(UsageError, match="'a' is the only domain") as caught:
        split_domains(located, "a")
    assert "--target none" in str(caught.value.hint)


def test_holding_out_may_leave_one_source(tmp_path: Path) -> None:
    located = locate(str(draw_tree(tmp_path, {"a": ["x"], "b": ["x"]})))
    assert split_domains(located, None) == (("a", "b"), None)
    assert split_domains(located, "b") == (("a",), "b")


def test_an_empty_cell_is_a_warning() -> None:
    (line,) = check_cells(dataset([(0, 0), (0, 1), (1, 1)]))
    assert "'y'" in line
    assert "'a'" in line
    assert check_cells(dataset([(0, 0), (0, 1), (1, 0), (1, 1)])) == ()


def test_a_class_without_any_image_is_an_error() -> None:
    with pytest.raises(DataError, match=r"the class 'y' has no image in any source domain \(a, b\)"):
        check_cells(dataset([(0, 0), (0, 1)]))
    assert missing_classes(dataset([(0, 0), (0, 1)])) == ("y",)
    assert missing_classes(dataset([(0, 0), (1, 1)])) == ()
