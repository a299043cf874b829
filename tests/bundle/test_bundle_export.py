"""The exported folder: exact pixels, loadable by torchvision, harmless names, never half there."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow.json import read_json
from torchvision.datasets import ImageFolder
from toy_bundles import facts_with, tensors_with

from dgdd_cli.bundle.export import export_folder
from dgdd_cli.bundle.names import class_folders, file_names
from dgdd_cli.bundle.read import Bundle, load_bundle
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.errors import DgddError, UsageError


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def exported(folder: Path, classes: list[str], domains: list[str], name: str = "out") -> Path:
    """An export of two images per class, of the first and of the last domain."""
    path = folder / f"{name}.safetensors"
    n = 2 * len(classes)
    tensors = {
        "images": torch.arange(n).to(torch.uint8)[:, None, None, None].expand(n, 3, 4, 4),
        "labels": torch.arange(len(classes)).repeat_interleave(2),
        "domains": torch.tensor([0, len(domains) - 1] * len(classes)),
    }
    source = facts_with().source.document() | {"counts": {}, "domain_fingerprints": {}}
    write_bundle(path, tensors, facts_with(classes=classes, domains=domains, target=None, source=source))
    return export_folder(load_bundle(path), folder / name)


def test_the_layout(bundle: Bundle, tmp_path: Path) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == [
        "README.md",
        "cat/photo_00000.png",
        "cat/sketch_00001.png",
        "croissant.json",
        "dog/mixed_00003.png",
        "dog/photo_00002.png",
        "metadata.jsonl",
    ]


def test_pixels_round_trip_exactly(bundle: Bundle, tmp_path: Path) -> None:
    folder = export_folder(bundle, str(tmp_path / "out"))
    for row in rows_of(folder):
        with Image.open(folder / row["file_name"]) as image:
            assert image.mode == "RGB"
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        assert torch.equal(pixels, bundle.images[int(row["index"])])


def test_image_folder_reads_the_same_classes(bundle: Bundle, tmp_path: Path) -> None:
    loaded = ImageFolder(str(export_folder(bundle, tmp_path / "out")))
    assert loaded.classes == list(bundle.manifest.classes)
    assert sorted(loaded.targets) == bundle.labels.tolist()
    by_index = {int(Path(path).stem.rpartition("_")[2]): label for path, label in loaded.samples}
    assert [by_index[i] for i in range(4)] == bundle.labels.tolist()


def test_metadata_is_what_hugging_face_imagefolder_expects(bundle: Bundle, tmp_path: Path) -> None:
    """A metadata.jsonl at the root whose `file_name` holds relative POSIX paths of exactly the images there are."""
    folder = export_folder(bundle, tmp_path / "out")
    rows = rows_of(folder)
    assert list(rows[0]) == ["file_name", "label", "domain", "index"]
    assert [(row["label"], row["domain"]) for row in rows] == [
        ("cat", "photo"),
        ("cat", "sketch"),
        ("dog", "photo"),
        ("dog", "mixed"),
    ]
    images = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    assert {row["file_name"] for row in rows} == images
    assert not any(part.startswith((".", "__")) for name in images for part in name.split("/"))
    header = (folder / "README.md").read_text().split("---\n")[1]
    assert 'path: ["*/*.png", "metadata.jsonl"]' in header
    assert f"config_name: dgdd-{bundle.manifest.id}\n" in header


def test_croissant_points_at_the_files(bundle: Bundle, tmp_path: Path) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    document = json.loads((folder / "croissant.json").read_text())
    table, images = document["distribution"]
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert table["sha256"] == hashlib.sha256((folder / "metadata.jsonl").read_bytes()).hexdigest()
    assert len(list(folder.glob(images["includes"]))) == 4
    assert [field["name"] for field in document["recordSet"][0]["field"]] == ["file_name", "label", "domain", "index"]


def test_the_card_disarms_markup(tmp_path: Path) -> None:
    source = facts_with().source.document() | {"licence": "<script>x</script> | [a](b)\n# head", "dataset": 'a"b: c'}
    path = tmp_path / "b.safetensors"
    write_bundle(path, tensors_with(), facts_with(source=source))
    card = (export_folder(load_bundle(path), tmp_path / "out") / "README.md").read_text()
    assert "<script>" not in card
    assert "&lt;script&gt;x&lt;/script&gt; \\| \\[a\\](b) \\# head" in card
    assert 'pretty_name: "a\\"b: c, distilled with dm"' in card


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["a/b", "a\\b", "a:b"], ["a_b", "a_b-2", "a_b-3"]),
        (["Cat", "cat", "CAT"], ["Cat", "cat-2", "CAT-3"]),
        (["a-2", "a", "A"], ["a-2", "a", "A-3"]),
        (["..", ".", "../../etc/passwd"], ["unnamed", "unnamed-2", "etc_passwd"]),
        (["-rf", "__x", ".hidden", "x. "], ["rf", "x", "hidden", "x-2"]),
        (["con", "COM1.txt", "none"], ["con-1", "COM1.txt-1", "none"]),
        (["é", "e\u0301", "猫"], ["é", "é-2", "猫"]),
        (["x" * 300], ["x" * 100]),
        (["猫" * 100], ["猫" * 33]),
        (["\u202etxt", "a b"], ["txt", "a b"]),
        (["train", "Test", "crash test", "dev_2"], ["+train", "+Test", "crash+test", "+dev_2"]),
        (["2test", "a/val", "a+val", "test-train.eval"], ["2+test", "a+val", "a+val-2", "+test+train+eval"]),
        (["trained", "testament", "device", "evaluate"], ["trained", "testament", "device", "evaluate"]),
    ],
)
def test_file_names_are_harmless_and_distinct(names: list[str], expected: list[str]) -> None:
    assert file_names(names) == expected


ODD = [
    "-dash",
    "10",
    "2",
    "Zebra",
    "_hidden",
    "apple",
    "train",
    "Éclair",
    "éclair",
    "🦊",
    "🦁",
    "..",
    "CON",
    "test tube",
]


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        (["airplane", "train", "truck"], ["0+airplane", "1+train", "2+truck"]),
        (["-dash", "10", "apple"], ["0+dash", "1+10", "2+apple"]),
        (["Zebra", "apple", "zoo"], ["Zebra", "apple", "zoo"]),
        (["crash test", "crash_test 2"], ["crash+test", "crash+test 2"]),
        ([f"{n}" for n in range(11)], [f"{n:02d}+{n}" for n in range(11)]),
        (["z", "é"], ["0+z", "1+é"]),  # a file system that decomposes é would sort it first
    ],
)
def test_class_folders_carry_numbers_where_names_would_not_sort(classes: list[str], folders: list[str]) -> None:
    assert class_folders(classes) == folders


@pytest.mark.parametrize("classes", [ODD, ODD[::-1], [chr(0x1F600 + n) for n in range(12)], ["val", "test", "train"]])
def test_image_folder_numbers_classes_as_the_bundle_does(tmp_path: Path, classes: list[str]) -> None:
    folder = exported(tmp_path, classes, ["photo", "test"])
    loaded = ImageFolder(str(folder))
    numbers = {Path(path).relative_to(folder).as_posix(): label for path, label in loaded.samples}
    assert len(numbers) == 2 * len(classes)
    assert [numbers[row["file_name"]] for row in rows_of(folder)] == [row["index"] // 2 for row in rows_of(folder)]
    assert [row["label"] for row in rows_of(folder)[::2]] == classes


# How the loader of Hugging Face `datasets` finds splits by name, from its documentation of repository structures.
KEYWORDS = ["train", "training", "validation", "valid", "dev", "val", "test", "testing", "eval", "evaluation"]
SEPARATED = ["{}", "{}[-._ 0-9]*", "*[-._ 0-9]{}", "*[-._ 0-9]{}[-._ 0-9]*"]
WORDS = [*KEYWORDS, *map(str.title, KEYWORDS), "cat", "crash", "2", "é", "🦊", "con"]
TEXTS = st.text(max_size=8) | st.lists(st.sampled_from([*WORDS, *" -_./+"]), max_size=6).map("".join)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.lists(TEXTS, min_size=1, max_size=12, unique=True))
def test_no_names_change_the_numbers_or_make_a_split(names: list[str]) -> None:
    folders = class_folders(names)
    for form in ("NFC", "NFD"):
        assert sorted(unicodedata.normalize(form, f) for f in folders) == [
            unicodedata.normalize(form, f) for f in folders
        ]
    assert len({name.casefold() for name in folders}) == len(names)
    for name in [*folders, *(f"{name}_00000.png" for name in file_names(names))]:
        assert not name.startswith((".", "-", "_"))
        assert len(name.encode()) < 255
        for keyword in KEYWORDS:
            assert not any(fnmatch.fnmatchcase(name.lower(), p.format(keyword)) for p in SEPARATED), name


@pytest.mark.parametrize(
    "names",
    [
        ["NA", "None", "null"],
        ["01", "02", "10"],
        ["False", "True"],
        ["1e5", "nan", "-"],
        ["2024", "2024-05", "2024-05-01 tour"],
    ],
)
def test_names_that_look_like_other_values_stay_text(tmp_path: Path, names: list[str]) -> None:
    folder = exported(tmp_path, names, names)
    assert [(row["label"], row["domain"]) for row in rows_of(folder)] == [
        (label, domain) for label in names for domain in (names[0], names[-1])
    ]
    assert all(type(row["index"]) is int for row in rows_of(folder))


@pytest.mark.parametrize(
    "names",
    [
        ["2024-05-01", "2024-06-02"],
        ["+2024-05-01", "2024-05-01"],
        ["2024-05-01 10", "2024-05-01T10:30", "2024-05-01 10:30:59Z", "2024-05-01T10+02:00", "2024-05-01 10:30-0500"],
    ],
)
def test_names_that_look_like_dates_stay_text(tmp_path: Path, names: list[str]) -> None:
    folder = exported(tmp_path, names, names)
    table = read_json(folder / "metadata.jsonl")
    labels, domains = table["label"].to_pylist(), table["domain"].to_pylist()
    assert (table["label"].type, table["domain"].type) == (pyarrow.string(), pyarrow.string())
    assert labels == [f"+{name}" for name in names for _ in range(2)]
    assert set(domains) == {f"+{names[0]}", f"+{names[-1]}"}


def test_the_title_of_the_card_is_yaml_in_any_script(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    source = facts_with().source.document() | {"dataset": '🦊 "猫"\\ \uffff: #'}
    write_bundle(tmp_path / "b.safetensors", tensors_with(), facts_with(source=source))
    card = (export_folder(load_bundle(tmp_path / "b.safetensors"), tmp_path / "out") / "README.md").read_text("utf-8")
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["pretty_name"] == '🦊 "猫"\\ \uffff: #, distilled with dm'


def test_classes_that_sanitise_to_one_name_do_not_collide(tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    source = facts_with().source.document() | {"counts": {}}
    write_bundle(path, tensors_with(), facts_with(classes=["a/b", "a?b"], source=source))
    folder = export_folder(load_bundle(path), tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["a_b", "a_b-2"]
    assert [row["label"] for row in rows_of(folder)] == ["a/b", "a/b", "a?b", "a?b"]
    assert len(ImageFolder(str(folder))) == 4


def test_a_folder_with_anything_in_it_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_folder(bundle, tmp_path / "out")  # empty: filled
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="not empty") as caught:
        export_folder(bundle, tmp_path / "out")
    assert "--force" in (caught.value.hint or "")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_earlier_export_is_replaced_whole(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    source = facts_with().source.document() | {"counts": {}}
    write_bundle(path, tensors_with(), facts_with(classes=["x", "y"], source=source))
    folder = export_folder(load_bundle(path), tmp_path / "out")
    export_folder(bundle, folder, overwrite=True)
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["cat", "dog"]
    assert {p.name for p in tmp_path.iterdir()} == {"other.safetensors", "out", "toy.safetensors"}


@pytest.mark.parametrize("stranger", ["thesis.tex", "cat/mine.png", "empty/"])
def test_a_folder_with_the_users_own_files_is_never_replaced(bundle: Bundle, tmp_path: Path, stranger: str) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    if stranger.endswith("/"):
        (folder / stranger).mkdir()
    else:
        (folder / stranger).write_text("mine")
    with pytest.raises(UsageError, match="not from an earlier export") as caught:
        export_folder(bundle, folder, overwrite=True)
    assert stranger.rstrip("/") in caught.value.message
    assert (folder / stranger).exists()
    assert (folder / "cat" / "photo_00000.png").exists()


@pytest.mark.parametrize(
    "litter", [".DS_Store", "cat/.DS_Store", "._x", "dog/Thumbs.db", "desktop.ini", "@eaDir/x.png"]
)
def test_what_file_managers_leave_behind_does_not_keep_an_export(bundle: Bundle, tmp_path: Path, litter: str) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    (folder / litter).parent.mkdir(exist_ok=True)
    (folder / litter).write_text("x")
    export_folder(bundle, folder, overwrite=True)
    assert not (folder / litter).exists()
    assert len(rows_of(folder)) == 4


def test_a_folder_with_litter_alone_is_filled(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").write_text("x")
    assert len(rows_of(export_folder(bundle, tmp_path / "out"))) == 4


def as_version_0_1_0(folder: Path) -> None:
    """Give an export the table that version 0.1.0 wrote."""
    rows = [f"{row['file_name']},{row['label']},{row['domain']},{row['index']}\n" for row in rows_of(folder)]
    table = "".join(["file_name,label,domain,index\n", *rows])
    (folder / "metadata.jsonl").unlink()
    (folder / "metadata.csv").write_text(table)
    page = json.loads((folder / "croissant.json").read_text())
    page["distribution"][0] |= {"contentUrl": "metadata.csv", "sha256": hashlib.sha256(table.encode()).hexdigest()}
    (folder / "croissant.json").write_text(json.dumps(page))


def test_an_export_of_an_earlier_version_can_be_replaced(bundle: Bundle, tmp_path: Path) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    as_version_0_1_0(folder)
    export_folder(bundle, folder, overwrite=True)
    assert not (folder / "metadata.csv").exists()


def test_the_users_own_image_folder_is_not_taken_for_an_export(bundle: Bundle, tmp_path: Path) -> None:
    """metadata.csv and metadata.jsonl are how everybody describes images in folders."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "1.png").write_bytes(b"x")
    (mine / "metadata.csv").write_text("file_name,label\n1.png,cat\n")
    with pytest.raises(UsageError, match="not from an earlier export"):
        export_folder(bundle, mine, overwrite=True)
    (mine / "metadata.csv").unlink()
    (mine / "metadata.jsonl").write_text('{"file_name": "1.png", "label": "cat"}\n')
    with pytest.raises(UsageError, match="not from an earlier export"):
        export_folder(bundle, mine, overwrite=True)
    assert (mine / "1.png").exists()


@pytest.mark.parametrize("page", ["", "[]", "{}", '{"distribution": 3}', "[" * 100_000, '{"distribution": [[]]}'])
def test_a_croissant_page_that_vouches_for_nothing(bundle: Bundle, tmp_path: Path, page: str) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    (folder / "croissant.json").write_text(page)
    with pytest.raises(UsageError, match="not from an earlier export"):
        export_folder(bundle, folder, overwrite=True)


def test_a_home_folder_is_never_replaced(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "home" / "papers").mkdir(parents=True)
    (tmp_path / "home" / "papers" / "a.pdf").write_text("x")
    with pytest.raises(UsageError, match=r"papers/a\.pdf"):
        export_folder(bundle, tmp_path / "home", overwrite=True)


def test_a_file_or_a_missing_parent_is_told(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        export_folder(bundle, tmp_path / "file", overwrite=True)
    with pytest.raises(UsageError, match="does not exist"):
        export_folder(bundle, tmp_path / "no" / "out")


def test_a_full_disk_leaves_the_earlier_export(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DgddError, match="No space left"):
        export_folder(bundle, folder, overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert {p.name for p in tmp_path.iterdir()} == {"out", "toy.safetensors"}


def test_a_failing_move_puts_the_earlier_export_back(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_folder(bundle, tmp_path / "out")
    real, calls = os.replace, []

    def second_fails(source: object, target: object) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(DgddError, match="Input/output error"):
        export_folder(bundle, folder, overwrite=True)
    assert (folder / "cat" / "photo_00000.png").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"out", "toy.safetensors"}
