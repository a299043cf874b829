from __future__ import annotations

import os
from pathlib import Path

import pytest
from data_pictures import PACS_CLASSES, PACS_DOMAINS, draw_pacs, draw_tree, picture, write

from dgdd_cli.data.load import load_dataset, locate, resolve_domain
from dgdd_cli.errors import DataError, UnknownName


def test_a_path_is_a_folder_set_with_the_union_of_its_classes(tmp_path: Path) -> None:
    root = draw_tree(tmp_path / "mine", {"b": ["dog", "cat"], "a": ["cat", "zebra"]})
    located = locate(str(root))
    assert (located.name, located.entry, located.root, located.default_target) == ("mine", None, root, None)
    assert located.domain_names == ("a", "b")
    assert located.class_names == ("cat", "dog", "zebra")


def test_a_class_missing_in_one_domain_does_not_shift_the_labels(tmp_path: Path) -> None:
    root = draw_tree(tmp_path / "mine", {"a": ["dog", "house"], "b": ["cat", "dog", "house"]}, images=1)
    dataset = load_dataset(str(root), image_size=8)
    assert dataset.class_names == ("cat", "dog", "house")
    assert dataset.counts().tolist() == [[0, 1], [1, 1], [1, 1]]
    assert dataset.only(["a"]).labels.tolist() == [1, 2]


def test_a_relative_name_of_an_existing_folder_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_tree(tmp_path / "mine", {"a": ["x"], "b": ["x"]})
    monkeypatch.chdir(tmp_path)
    assert locate("mine").domain_names == ("a", "b")
    assert locate("./mine").name == "mine"


def test_the_path_of_a_catalog_set_stays_a_folder_set(tmp_path: Path) -> None:
    located = locate(str(draw_pacs(tmp_path)))
    assert (located.name, located.entry, located.default_target) == ("PACS (own folder)", None, None)


@pytest.mark.parametrize("folder", ["pacs", "PACS", "kfold", "PACS/images", "PACS/kfold"])
def test_a_catalog_set_is_found_under_the_names_people_use(tmp_path: Path, folder: str) -> None:
    draw_pacs(tmp_path, folder)
    located = locate("pacs", data_dir=tmp_path)
    assert located.root == tmp_path / folder
    assert located.domain_names == PACS_DOMAINS
    assert located.class_names == PACS_CLASSES
    assert located.default_target == "sketch"


def test_the_data_folder_may_be_the_set_itself(tmp_path: Path) -> None:
    root = draw_pacs(tmp_path, "some name")
    assert locate("PACS", data_dir=root).root == root


def test_a_catalog_set_may_lie_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_pacs(tmp_path, "pacs")
    monkeypatch.chdir(tmp_path)
    located = locate("pacs")
    assert (located.root, located.default_target) == (Path("pacs"), "sketch")


def test_an_empty_folder_of_the_same_name_does_not_hide_the_set(tmp_path: Path) -> None:
    (tmp_path / "pacs").mkdir()
    root = draw_pacs(tmp_path, "kfold")
    assert locate("pacs", data_dir=tmp_path).root == root


def test_catalog_folders_are_matched_whatever_their_case_and_separators(tmp_path: Path) -> None:
    classes = ["alarm clock", "TV", "paper-clip"]
    draw_tree(tmp_path / "OfficeHome", dict.fromkeys(["Art", "Clipart", "Product", "Real World"], classes), images=1)
    dataset = load_dataset("office_home", data_dir=tmp_path, image_size=8)
    assert dataset.domain_names == ("art", "clipart", "product", "real_world")
    assert [dataset.class_names[i] for i in dataset.labels[:3].tolist()] == ["Alarm_Clock", "Paper_Clip", "TV"]


def test_stray_folders_of_a_catalog_set_are_named_and_left_out(tmp_path: Path) -> None:
    root = draw_pacs(tmp_path)
    write(root / "splits" / "dog" / "1.png", picture(0))
    write(root / "photo" / "zebra" / "1.png", picture(0))
    (root / ".cache").mkdir()
    (root / "__MACOSX").mkdir()
    dataset = load_dataset("pacs", data_dir=tmp_path, image_size=8)
    assert dataset.domain_names == PACS_DOMAINS
    assert len(dataset) == 28
    assert any("'splits'" in note for note in dataset.notes)
    assert any("'zebra'" in note for note in dataset.notes)
    assert not any("MACOSX" in note or ".cache" in note for note in dataset.notes)


def test_a_missing_catalog_domain_is_an_error_that_names_what_is_there(tmp_path: Path) -> None:
    draw_pacs(tmp_path)
    (tmp_path / "PACS" / "sketch").rename(tmp_path / "PACS" / "drawings")
    with pytest.raises(DataError, match=r"lacks the domain 'sketch' of pacs; found instead: 'drawings'"):
        locate("pacs", data_dir=tmp_path)


def test_two_folders_for_one_catalog_domain_or_class_are_refused(tmp_path: Path) -> None:
    root = draw_pacs(tmp_path)
    write(root / "sketch" / "DOG" / "1.png", picture(0))
    with pytest.raises(DataError, match="class 'dog' twice"):
        locate("pacs", data_dir=tmp_path)
    write(root / "Sketches" / "dog" / "1.png", picture(0))
    with pytest.raises(DataError, match="domain 'sketch' of pacs twice"):
        locate("pacs", data_dir=tmp_path)


def test_a_catalog_domain_with_none_of_the_classes_is_refused(tmp_path: Path) -> None:
    root = draw_pacs(tmp_path)
    (root / "sketch").rename(tmp_path / "kept")
    (root / "sketch").mkdir()
    (tmp_path / "kept").rename(root / "sketch" / "train")
    with pytest.raises(DataError, match="none of the classes of pacs: found 'train'"):
        locate("pacs", data_dir=tmp_path)


def test_spellings_of_a_class_are_united_unless_one_domain_has_both(tmp_path: Path) -> None:
    united = locate(str(draw_tree(tmp_path / "united", {"a": ["Dog"], "b": ["dog"]})))
    assert united.class_names == ("Dog",)
    assert united.contents is not None
    assert any("'Dog', 'dog'" in note for note in united.contents.notes)
    letters = locate(str(draw_tree(tmp_path / "letters", {"a": ["A", "a"], "b": ["a"]})))
    assert letters.class_names == ("A", "a")
    assert load_dataset(str(tmp_path / "letters"), image_size=8, domains=["b"]).labels.tolist() == [1, 1]


@pytest.mark.parametrize("name", ["digitz", "pac", "ofice_home"])
def test_an_unknown_dataset_gets_near_matches(name: str) -> None:
    with pytest.raises(UnknownName, match="unknown dataset") as caught:
        locate(name)
    assert "did you mean" in str(caught.value.hint)
    assert caught.value.exit_code == 2


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder") as caught:
        locate(str(tmp_path / "nowhere"))
    assert "DIR/<domain>/<class>/<image>" in str(caught.value.hint)
    with pytest.raises(DataError, match="there is no folder"):
        locate("pacs", data_dir=tmp_path / "nowhere")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    archive = tmp_path / "PACS.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DataError, match="is a file, not a folder"):
        locate(str(archive))


def test_an_empty_folder_and_one_with_files_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        locate(str(tmp_path))
    write(tmp_path / "1.png", picture(0))
    with pytest.raises(DataError, match="holds files but no folders"):
        locate(str(tmp_path))


def test_images_directly_in_a_domain_folder(tmp_path: Path) -> None:
    write(tmp_path / "photo" / "1.png", picture(0))
    with pytest.raises(DataError, match="the class level is missing"):
        locate(str(tmp_path))


def test_folders_without_images_are_no_domains(tmp_path: Path) -> None:
    draw_tree(tmp_path, {"a": ["x", "y"], "b": ["x", "y"]})
    for name in ("splits", "docs/html", "image_list", "__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "docs" / "html" / "index.html").write_text("<html>")
    (tmp_path / "image_list" / "a.txt").write_text("a/x/0.png 0")
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"x")
    dataset = load_dataset(str(tmp_path), image_size=8)
    assert dataset.domain_names == ("a", "b")
    assert dataset.class_names == ("x", "y")
    (note,) = dataset.notes
    assert "'docs', 'image_list', 'splits'" in note


def test_nothing_but_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"b is empty"):
        locate(str(tmp_path))


def test_a_folder_of_pictures_beside_the_domains_is_not_left_out_silently(tmp_path: Path) -> None:
    draw_tree(tmp_path, {"a": ["x"], "b": ["x"]})
    write(tmp_path / "preview" / "1.png", picture(0))
    with pytest.raises(DataError, match="preview holds files directly") as caught:
        locate(str(tmp_path))
    assert "move it out" in str(caught.value.hint)


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    draw_tree(tmp_path, {"a": ["x"], "b": ["x"]})
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="no permission to read the folder") as caught:
        locate(str(tmp_path))
    assert "chmod" in str(caught.value.hint)


def test_links_in_circles_are_left_out(tmp_path: Path) -> None:
    root = draw_tree(tmp_path / "mine", {"a": ["x"], "b": ["x"]})
    (root / "again").symlink_to(root)
    (root / "a" / "up").symlink_to(root)
    (root / "c").symlink_to("c")
    (root / "a" / "x" / "self").symlink_to(root / "a" / "x")
    dataset = load_dataset(str(root), image_size=8)
    assert dataset.domain_names == ("a", "b")
    assert dataset.class_names == ("x",)
    assert len(dataset) == 4
    assert sum("leads back" in note for note in dataset.notes) == 2


def test_one_folder_under_two_domain_names_is_refused(tmp_path: Path) -> None:
    root = draw_tree(tmp_path / "mine", {"a": ["x"], "b": ["x"]})
    (root / "c").symlink_to(root / "b")
    with pytest.raises(DataError, match="the domains 'b' and 'c' are the same folder"):
        locate(str(root))


def test_sets_that_cannot_be_fetched_say_where_they_are_had(tmp_path: Path) -> None:
    for data_dir in (None, tmp_path):
        with pytest.raises(DataError, match="vlcs is not") as caught:
            locate("vlcs", data_dir=data_dir)
        assert "DIR/VLCS/<domain>/<class>/<image>" in str(caught.value.hint)


def test_domainnet_takes_its_classes_from_all_domains(tmp_path: Path) -> None:
    names = ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]
    draw_tree(tmp_path / "domain_net", {name: ["axe", "zebra"] if name == "real" else ["axe"] for name in names})
    located = locate("domainnet", data_dir=tmp_path)
    assert located.class_names == ("axe", "zebra")
    assert located.default_target == "quickdraw"


def test_domains_are_resolved_by_alias_and_spelling(tmp_path: Path) -> None:
    located = locate("digits")
    assert resolve_domain(located, "Typeset") == "typeset"
    mine = locate(str(draw_tree(tmp_path / "mine", {"Night Photos": ["x"], "day": ["x"]})))
    assert resolve_domain(mine, "night_photos") == "Night Photos"
    with pytest.raises(UnknownName) as caught:
        resolve_domain(mine, "dai")
    assert "'day'" in str(caught.value.hint)
