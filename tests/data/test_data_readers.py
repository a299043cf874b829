"""What every reader of datasets shares: the order in which they are asked, paths, files and names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dgdd_cli.data.decode import Sample
from dgdd_cli.data.files import LARGEST_FILE, below, read_file
from dgdd_cli.data.load import load_dataset, locate
from dgdd_cli.data.reader import Contents, Reader
from dgdd_cli.data.readers import READERS, reader_of
from dgdd_cli.errors import DataError


def test_the_latest_entry_is_asked_first_and_the_folder_last(shapes_folder: Path, monkeypatch) -> None:
    assert reader_of(shapes_folder) is READERS["folder"]
    assert reader_of(shapes_folder / "nothing") is None
    content = next(shapes_folder.glob("*/*/*")).read_bytes()

    def contents(root, entry):
        return Contents(("a",), ("x",), lambda domain: ([Sample("one", 0, lambda: content)], ("of one",)), ("read",))

    other = Reader(lambda root, entry: root == shapes_folder and entry is None, contents)
    monkeypatch.setitem(READERS, "other", other)
    assert reader_of(shapes_folder) is other
    found = load_dataset(shapes_folder, image_size=8)
    assert (len(found), found.domain_names, found.notes) == (1, ("a",), ("read", "of one"))
    assert reader_of(shapes_folder.parent) is READERS["folder"]


def test_a_reader_with_the_name_of_a_catalog_set_makes_it(monkeypatch) -> None:
    made = Contents(("scan", "blend", "outline", "typeset"), ("x",))
    monkeypatch.setitem(READERS, "pacs", Reader(lambda root, entry: False, lambda root, entry: made))
    assert locate("pacs").contents is made
    assert locate("digits").contents is not made


@pytest.mark.parametrize("text", ["", " ", "..", "../x.jpg", "a/../../x.jpg", "/etc/passwd", "a\0.jpg"])
def test_a_path_that_leads_out_is_refused(text: str, tmp_path: Path) -> None:
    assert below(tmp_path, "a/x.jpg", "list") == tmp_path / "a" / "x.jpg"
    with pytest.raises(DataError, match=r"list, line 3: .* is no path below"):
        below(tmp_path, text, "list, line 3")


def test_a_file_is_read_that_is_one_and_not_absurd(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert read_file(tmp_path / "x") == b"abc"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a pipe, socket or device"):
        read_file(tmp_path / "pipe")
    os.truncate(tmp_path / "x", LARGEST_FILE + 1)
    with pytest.raises(ValueError, match="bytes are more than"):
        read_file(tmp_path / "x")


@pytest.mark.parametrize(
    ("domains", "classes", "said"),
    [
        ((), ("x",), "the dataset has no domain"),
        (("a",), (), "the dataset has no class"),
        (("a", "a"), ("x",), "the domain 'a' comes twice"),
        (("a",), ("x", " "), "the class ' ' is blank"),
        (("a\x07",), ("x",), "holds control characters"),
    ],
)
def test_names_that_cannot_be_are_refused(domains, classes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Contents(domains, classes)
