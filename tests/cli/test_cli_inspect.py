"""`dgdd inspect`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.manifest import BundleFacts
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.groups.file import GroupsFacts, write_groups

SHA = "0123456789abcdef" * 4
GOLDEN = Path(__file__).with_name("golden_inspect_bundle.json")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder and no DGDD_* variables."""
    for name in ("DGDD_DATA", "DGDD_CACHE", "DGDD_DEBUG", "DGDD_PROGRESS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bundle(home: Path) -> Path:
    write_toy(home / "toy.safetensors")
    return Path("toy.safetensors")


def write_toy(path: Path, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "normalise": {"mean": [0.5, 0.25, 0.125], "std": [0.5, 0.5, 0.5], "origin": "sources"},
        "classes": ["cat", "dog"],
        "domains": ["photo", "sketch"],
        "target": "cartoon",
        "method": {"name": "sgs", "settings": {"surgery": {"shared": 1.0, "pool": "class"}, "augment": None}},
        "seed": 7,
        "steps": 3,
        "software": {"dgdd": "0.1.0", "torch": "2.15.0"},
        "device": {"type": "cpu", "name": "any"},
        "source": {
            "dataset": "toy",
            "fingerprint": SHA,
            "domain_fingerprints": {"photo": SHA},
            "licence": "CC0",
            "citation": "nobody, 2026",
            "counts": {"photo": {"cat": 4, "dog": 3}, "sketch": {"cat": 2, "dog": 5}},
        },
    }
    tensors = {
        "images": torch.arange(4 * 3 * 8 * 8).remainder(256).to(torch.uint8).reshape(4, 3, 8, 8),
        "labels": torch.tensor([0, 0, 1, 1]),
        "domains": torch.tensor([0, 1, 0, -1]),
    }
    write_bundle(path, tensors, BundleFacts.model_validate(fields | changes))


@pytest.fixture
def groups(home: Path) -> Path:
    facts = {
        "dataset": "toy",
        "fingerprint": SHA,
        "domain_fingerprints": {},
        "image_size": 8,
        "classes": ["cat", "dog"],
        "domains": ["photo"],
        "per": "class",
        "features": "pixels",
        "seed": 0,
        "silhouette": 0.25,
        "purity_class": 0.75,
        "purity_domain": 1.0,
        "software": {"dgdd": "0.1.0"},
    }
    path = Path("groups.safetensors")
    write_groups(path, torch.tensor([0, 1, 1]), torch.zeros(2, 3), GroupsFacts.model_validate(facts))
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run(["inspect", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_summary_names_everything(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, bundle)
    assert (code, err) == (0, "")
    for words in (
        "sgs",
        "surgery.shared",
        "surgery.pool",
        "4, 2 per class, 8 x 8 pixels",
        "2: cat, dog",
        "photo (2 images), sketch (1 image), mixed (1 image)",
        "cartoon",
        "torch 2.15.0",
        "toy, 14 images",
        SHA,
        "CC0",
    ):
        assert words in out, words


def test_the_json_document_is_pinned(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, bundle, "--verify", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(GOLDEN.read_text())


def test_a_groups_file(groups: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, groups, "--verify")
    assert code == 0
    for words in ("within each class", "0.250", "0.750 by class", "3 images", "sizes recounted"):
        assert words in out, words
    code, out, _ = call(capsys, groups, "--json")
    document = json.loads(out)
    assert (document["schema"], document["kind"]) == ("dgdd.inspect/1", "groups")
    assert document["manifest"]["sizes"] == [1, 2]
    code, out, err = call(capsys, groups, "--gallery", "grid.png")
    assert (code, out) == (2, "")
    assert "holds no images" in err


def test_quiet_prints_the_id(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identifier = json.loads(GOLDEN.read_text())["manifest"]["id"]
    assert call(capsys, bundle, "-q") == (0, f"{identifier}\n", "")


def test_verify_says_what_was_checked(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "checked" not in call(capsys, bundle)[1]
    code, out, _ = call(capsys, bundle, "--verify")
    assert code == 0
    assert out.count("checked") == 6
    assert "sha256 of 3 tensors" in out


def test_an_invalid_bundle_is_3_and_with_verify_4(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(bundle.read_bytes())
    data[-1] ^= 1
    bundle.write_bytes(data)
    code, out, err = call(capsys, bundle)
    assert (code, out) == (3, "")
    assert err.startswith("error: toy.safetensors is not a valid bundle: the tensor 'images' is not the one")
    assert "\nhint: " in err
    code, out, err = call(capsys, bundle, "--verify")
    assert (code, out) == (4, "")
    assert err.startswith("error: verification failed: toy.safetensors is not a valid bundle")
    code, out, _ = call(capsys, bundle, "--verify", "--json")
    assert code == 4
    document = json.loads(out)
    assert document["valid"] is False
    assert "sha256 differs" in document["problem"]
    code, out, _ = call(capsys, bundle, "--gallery", "grid.png")
    assert (code, Path("grid.png").exists()) == (3, False)


@pytest.mark.parametrize("flags", [[], ["--verify"]])
def test_a_missing_file_is_3_with_its_neighbours(
    bundle: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    code, out, err = call(capsys, "toi.safetensors", *flags)
    assert (code, out) == (3, "")
    assert "does not exist" in err
    assert "hint: did you mean toy.safetensors?" in err


def test_gallery_and_export_are_written(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, bundle, "--gallery", "grid.png", "--export", "images", "-q")
    assert (code, out) == (0, "grid.png\nimages\n")
    with Image.open("grid.png") as image:
        assert image.format == "PNG"
    assert Path("images/cat/photo_00000.png").is_file()
    document = json.loads(call(capsys, bundle, "--gallery", "2.png", "--json")[1])
    assert document["gallery"] == "2.png"
    assert "export" not in document


def test_nothing_is_written_when_one_of_two_may_not_be(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("images").mkdir()
    Path("images/mine.txt").write_text("x")
    code, out, err = call(capsys, bundle, "--gallery", "grid.png", "--export", "images")
    assert (code, out) == (2, "")
    assert "not empty" in err
    assert not Path("grid.png").exists()
    code, _, err = call(capsys, bundle, "--gallery", "grid.png", "--export", "images", "--force")
    assert code == 2
    assert "mine.txt" in err
    assert Path("images/mine.txt").read_text() == "x"


def test_existing_pictures_need_force(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("grid.png").write_bytes(b"mine")
    code, _, err = call(capsys, bundle, "--gallery", "grid.png")
    assert code == 2
    assert "--force" in err
    assert Path("grid.png").read_bytes() == b"mine"
    assert call(capsys, bundle, "--gallery", "grid.png", "--force")[0] == 0
    assert Path("grid.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--verify"], "need a file"),
        (["--gallery", "grid.png"], "need a file"),
        (["toy.safetensors", "--gallery", "grid.jpg"], "does not end in .png"),
        (["toy.safetensors", "--gallery", "no/grid.png"], "does not exist"),
        (["toy.safetensors", "--json", "-q"], "exclude each other"),
    ],
)
def test_wrong_usage_is_2(bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "hint: " in err


def test_strings_of_a_manifest_cannot_act_on_the_terminal(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"x\x1b]0;owned\x07": "[bold red]boo[/] [link=http://e]x[/link] \u202e :smile:"}
    write_toy(
        home / "b.safetensors", method={"name": "[red]sgs[/red]", "settings": {"k": settings["x\x1b]0;owned\x07"]}}
    )
    code, out, _ = call(capsys, "b.safetensors")
    assert code == 0
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[red]sgs[/red]" in out
    assert "[bold red]boo[/] [link=http://e]x[/link]" in out
    assert ":smile:" in out


def test_json_cannot_act_on_the_terminal_either(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON leaves DEL, the C1 controls (U+009B begins an escape sequence) and direction marks as they are."""
    hostile = "\x9b2J \x7f \u202e \u2028 \U000e0041 é 猫"
    write_toy(home / "b.safetensors", method={"name": "sgs", "settings": {"k": hostile, "deep": {hostile: 1}}})
    code, out, _ = call(capsys, "b.safetensors", "--json")
    assert code == 0
    assert out.replace("\n", "").isprintable()
    assert "é 猫" in out
    assert json.loads(out)["manifest"]["method"]["settings"] == {"k": hostile, "deep": {hostile: 1}}


def test_the_installation(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "data" / "pacs" / "photo" / "dog").mkdir(parents=True)
    code, out, err = call(capsys, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert set(document) == {
        "schema",
        "kind",
        "packages",
        "platform",
        "devices",
        "kernels",
        "data_dir",
        "cache_dir",
        "datasets",
        "methods",
    }
    assert (document["schema"], document["kind"]) == ("dgdd.inspect/1", "installation")
    assert {"dgdd", "python", "torch", "torchvision", "triton", "safetensors", "typer"} <= set(document["packages"])
    assert document["devices"][0]["type"] == "cpu"
    assert document["kernels"]["kernels"] in ("triton", "torch")
    assert document["kernels"]["reason"]
    assert {"random", "dm", "sgs"} <= set(document["methods"])
    datasets = {entry["name"]: entry for entry in document["datasets"]}
    assert datasets["digits"]["place"] == "embedded"
    assert datasets["vlcs"]["place"] == "missing"
    assert {"pacs", "vlcs", "office_home", "terra_incognita", "domainnet"} < set(datasets)


def test_the_installation_for_people_and_scripts(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys)
    assert code == 0
    for words in ("torch 2.", "kernels", "device", "digits", "sgs"):
        assert words in out, words
    from dgdd_cli import __version__

    assert call(capsys, "-q") == (0, f"{__version__}\n", "")


def test_datasets_are_found_in_the_data_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for domain in ("art_painting", "cartoon", "photo", "sketch"):
        for name in ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"):
            folder = home / "sets" / "PACS" / domain / name
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(folder / "1.png")
    code, out, _ = call(capsys, "--data", "sets", "--json")
    assert code == 0
    (pacs,) = (entry for entry in json.loads(out)["datasets"] if entry["name"] == "pacs")
    assert (pacs["place"], pacs["where"]) == ("folder", "sets/PACS")


def test_a_groups_file_of_another_dataset_is_refused(shapes_folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    groups = tmp_path / "groups.safetensors"
    arguments = ["--groups", "2", "--image-size", "8", "--out", str(groups), "-q"]
    assert run(["cluster", str(shapes_folder), *arguments]) == 0
    assert run(["inspect", str(groups), "--dataset", str(shapes_folder), "-q"]) == 0
    (shapes_folder / "blue" / "box" / "pic_000.jpg").unlink()
    assert run(["inspect", str(groups), "--dataset", str(shapes_folder), "-q"]) == 3
    said = capsys.readouterr().err
    assert "another dataset" in said
    assert "dgdd cluster" in said
