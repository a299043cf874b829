"""`dgdd inspect --cache` and `--clear-cache`: what is kept, how much, and what is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run

KINDS = ("decoded", "banks", "groups", "scores")


def inspect(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(["inspect", *options])
    return code, *capsys.readouterr()


def files(cache: Path, kind: str = "*") -> list[Path]:
    return [path for path in cache.glob(f"{kind}/*") if path.is_file()]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with entries of every kind, one unfinished, and somebody else's file."""
    folder = tmp_path / "cache"
    for number, kind in enumerate(KINDS, 1):
        (folder / kind).mkdir(parents=True)
        for name in range(number):
            (folder / kind / f"{name}.json").write_bytes(bytes(100 * number))
    (folder / "banks" / ".dgdd-0.tmp").write_bytes(bytes(7))
    (folder / "baselines").mkdir()
    (folder / "baselines" / "old.json").write_bytes(bytes(1000))
    monkeypatch.setenv("DGDD_CACHE", str(folder))
    monkeypatch.setenv("NO_COLOR", "1")
    return folder


def test_the_cache_by_kind(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = inspect(capsys, "--cache", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert set(document) == {"schema", "kind", "path", "bytes", "kinds"}
    assert (document["schema"], document["kind"], document["path"]) == ("dgdd.inspect/1", "cache", str(cache))
    assert document["kinds"] == {
        kind: {"entries": number, "bytes": sum(path.stat().st_size for path in files(cache, kind))}
        for number, kind in enumerate(KINDS, 1)
    }
    assert document["bytes"] == sum(kind["bytes"] for kind in document["kinds"].values()) == 3007
    assert inspect(capsys, "--cache", "-q") == (0, "3007\n", "")


def test_the_cache_for_people(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inspect(capsys, "--cache")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert ["banks", "2", "407", "bytes"] in rows
    assert ["all", "10", "2.9", "KiB"] in rows


def test_a_cache_that_is_not_there_is_empty(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inspect(capsys, "--cache", "--json", "--cache-dir", str(tmp_path / "nowhere"))
    assert code == 0
    assert json.loads(out)["bytes"] == 0
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_emptied_alone(cache: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    before, own = len(files(cache)), len(files(cache, kind))
    code, out, _ = inspect(capsys, "--clear-cache", kind, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["cleared"]["kind"] == kind
    assert document["cleared"]["bytes"] == 3007 - document["bytes"]
    assert files(cache, kind) == []
    assert len(files(cache)) == before - own


def test_what_was_deleted_is_said(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inspect(capsys, "--clear-cache", "banks")
    assert (code, out) == (0, f"deleted 2 entries of banks, 407 bytes, from {cache}\n")
    assert inspect(capsys, "--clear-cache", "scores", "-q") == (0, "4\n", "")


@pytest.mark.parametrize(
    ("kind", "near"), [("bank", "'banks'"), ("score", "'scores'"), ("../x", "known: banks"), ("", "known")]
)
def test_an_unknown_kind_is_refused(cache: Path, capsys: pytest.CaptureFixture[str], kind: str, near: str) -> None:
    code, out, err = inspect(capsys, "--clear-cache", kind)
    assert (code, out) == (2, "")
    assert near in err
    assert len(files(cache)) == 12


@pytest.mark.parametrize(
    "options", [("b.safetensors", "--cache"), ("--cache", "--verify"), ("b", "--clear-cache", "banks")]
)
def test_the_cache_is_no_question_about_a_file(
    cache: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    code, _, err = inspect(capsys, *options)
    assert code == 2
    assert "hint: dgdd inspect --cache" in err
    assert len(files(cache)) == 12


def test_what_the_verbs_keep_is_counted_to_the_byte(
    shapes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kept"
    common = ["--cache-dir", str(folder), "--progress", "none", "-q"]
    made = ["--method", "dm", "--ipc", "1", "--steps", "1", "--image-size", "8", "--target", "cyan"]
    probes = ["--probes", "bank:1", "--set", "probes.width=4", "--groups", "kmeans:1", "--risk", "cvar"]
    out = tmp_path / "b.safetensors"
    assert run(["distill", str(shapes_folder), *made, *probes, "--out", str(out), *common]) == 0
    tested = ["--baseline", "random", "--epochs", "1", "--repeats", "1", "--set", "width=4"]
    assert run(["evaluate", str(out), "--dataset", str(shapes_folder), *tested, *common]) == 0
    _, said, _ = inspect(capsys, "--cache", "--json", "--cache-dir", str(folder))
    document = json.loads(said)
    assert document["bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert all(kind["entries"] for kind in document["kinds"].values())
    for kind in KINDS:
        assert run(["inspect", "--clear-cache", kind, "--cache-dir", str(folder), "-q"]) == 0
    assert [path for path in folder.rglob("*") if path.is_file()] == []
