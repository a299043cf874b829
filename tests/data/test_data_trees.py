"""What is said of folders that lie another way: the tree found, the tree wanted, and a cure that destroys nothing."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from data_pictures import draw_tree, picture, write

from dgdd_cli.data.load import load_dataset, locate
from dgdd_cli.errors import DataError


def hint_of(caught: pytest.ExceptionInfo[DataError]) -> list[str]:
    return str(caught.value.hint).splitlines()


def splits(root: Path, domains: tuple[str, ...], inner: tuple[str, ...], classes: tuple[str, ...]) -> Path:
    for domain in domains:
        draw_tree(root / domain, dict.fromkeys(inner, classes), images=1)
    return root


def typed(hint: list[str], folder: Path) -> None:
    """Do what the last line of the hint says."""
    subprocess.run(hint[-1].split(", then")[0], shell=True, check=True, cwd=folder)


@pytest.mark.parametrize("inner", [("train", "val"), ("crossval", "train"), ("images",)])
def test_a_level_between_domain_and_class_in_an_own_folder(tmp_path: Path, inner: tuple[str, ...]) -> None:
    root = splits(tmp_path / "my set", ("mnist", "svhn"), inner, ("0", "1"))
    with pytest.raises(DataError, match="instead of images: a level too many") as caught:
        load_dataset(root, image_size=8)
    hint = hint_of(caught)
    assert hint[0] == f"found:  {root}/mnist/{inner[0]}/0/0.png"
    assert hint[1] == f"wanted: {root}/<domain>/<class>/<image>"
    assert "move the images" not in str(caught.value.hint)
    assert (f"'{inner[0]}', '{inner[-1]}' each" in caught.value.message) == (len(inner) > 1)
    typed(hint, tmp_path)
    assert (tmp_path / "SET" / "mnist").resolve().name == ("train" if "train" in inner else inner[0])
    dataset = load_dataset(tmp_path / "SET", image_size=8)
    assert dataset.domain_names == ("mnist", "svhn")
    assert len(dataset) == 4
    assert sorted(os.listdir(root / "mnist")) == sorted(inner)


def test_a_level_between_domain_and_class_in_a_catalog_set(tmp_path: Path) -> None:
    domains = ("art_painting", "cartoon", "photo", "sketch")
    root = splits(tmp_path / "PACS", domains, ("train", "val"), ("dog", "horse"))
    with pytest.raises(DataError, match="none of the classes of pacs: found 'train', 'val'") as caught:
        locate("pacs", data_dir=tmp_path)
    assert hint_of(caught)[0] == f"found:  {root}/art_painting/train/dog/0.png"
    typed(hint_of(caught), tmp_path)
    (tmp_path / "again").mkdir()
    (tmp_path / "SET").rename(tmp_path / "again" / "pacs")
    assert len(load_dataset("pacs", data_dir=tmp_path / "again", image_size=8)) == 8


def test_classes_of_other_names_are_not_a_level_too_many(tmp_path: Path) -> None:
    draw_tree(tmp_path / "VLCS", dict.fromkeys(("CALTECH", "LABELME", "PASCAL", "SUN"), ("0", "1")), images=1)
    with pytest.raises(DataError, match="none of the classes of vlcs: found '0', '1'") as caught:
        locate("vlcs", data_dir=tmp_path)
    assert hint_of(caught)[-1] == "the classes are called 'bird', 'car', 'chair', 'dog', 'person'"
    assert "level" not in str(caught.value.hint)


def test_a_plain_image_folder_may_be_one_domain(tmp_path: Path) -> None:
    root = tmp_path / "animals"
    for name in ("cat", "dog"):
        write(root / name / "1.png", picture(0))
    with pytest.raises(DataError, match="the class level is missing, or the domain level above it") as caught:
        locate(str(root))
    hint = hint_of(caught)
    assert hint[0] == f"found:  {root}/cat/1.png"
    command = hint[2].split(": ", 1)[1].split(", then")[0]
    assert shlex.split(command)[:2] == ["mkdir", "SET"]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert load_dataset(tmp_path / "SET", image_size=8).class_names == ("cat", "dog")


def test_splits_above_the_domains_are_sets_to_choose_from(tmp_path: Path) -> None:
    root = splits(tmp_path / "mine", ("train", "test"), ("a", "b"), ("x", "y"))
    with pytest.raises(DataError, match="'test', 'train' each make a set of their own") as caught:
        load_dataset(root, image_size=8)
    hint = hint_of(caught)
    assert hint[0] == f"found:  {root}/test/a/x/0.png"
    (given,) = shlex.split(hint[-1].removeprefix("give one of them: "))
    dataset = load_dataset(Path(given), image_size=8)
    assert (dataset.domain_names, dataset.class_names) == (("a", "b"), ("x", "y"))


def test_a_folder_of_images_beside_domains_is_no_class(tmp_path: Path) -> None:
    root = draw_tree(tmp_path / "mine", {"a": ["x", "y"], "b": ["x", "y"]}, images=1)
    write(root / "preview" / "1.png", picture(0))
    with pytest.raises(
        DataError, match=r"preview holds files directly \('1.png'\): the class level is missing$"
    ) as caught:
        locate(str(root))
    hint = hint_of(caught)
    assert hint == [
        f"found:  {root}/preview/1.png",
        f"wanted: {root}/<domain>/<class>/<image>",
        f"if preview is no domain, move it out of {root}",
    ]


def test_signed_and_unsigned_classes_stay_apart(tmp_path: Path) -> None:
    root = draw_tree(tmp_path / "mine", {"a": ["-1", "0", "A-"], "b": ["1", "0", "A"]}, images=1)
    dataset = load_dataset(root, image_size=8)
    assert dataset.class_names == ("-1", "0", "1", "A", "A-")
    assert dataset.notes == ()


def test_names_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    root = draw_tree(tmp_path / "mine", {"a": ["caf\u00e9", "tea"], "b": ["cafe\u0301", "tea"]}, images=1)
    located = locate(str(root))
    assert len(located.class_names) == 2
    assert located.contents is not None
    (note,) = located.contents.notes
    assert r"(written 'caf\xe9')" in note
    assert r"(written 'cafe\u0301')" in note


def test_a_class_that_is_a_link_to_another_is_refused(tmp_path: Path) -> None:
    root = draw_tree(tmp_path / "mine", {"a": ["x", "y"], "b": ["x", "y"]}, images=1)
    (root / "a" / "z").symlink_to(root / "a" / "x")
    with pytest.raises(DataError, match="the classes 'x' and 'z' of the domain 'a' are the same folder") as caught:
        locate(str(root))
    subprocess.run(str(caught.value.hint).split(" removes")[0], shell=True, check=True)
    assert locate(str(root)).class_names == ("x", "y")
    assert (root / "a" / "x").is_dir()


def test_a_name_of_the_hub_leads_to_the_name_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="there is no folder flwrlabs/pacs") as caught:
        locate("flwrlabs/pacs")
    assert hint_of(caught) == ["the set of this name on the hub is called pacs"]
