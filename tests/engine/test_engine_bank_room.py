"""The folder of banks has a bound: who goes first, who stays whatever its age, and what is nobody's business."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time

import pytest
import torch

from dgdd_cli.engine.bank import Shelf, fill_bank
from dgdd_cli.engine.bank_room import ABANDONED, make_room
from dgdd_cli.engine.in_use import hold
from dgdd_cli.progress import silent

SIZE = 4 * 3 * 2 * 4  # bytes of data of a bank here
DAY = ABANDONED + 60


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "banks"


def shelf_of(folder, digit: str) -> Shelf:
    return Shelf(folder, digit * 32, "these images")


def fill(folder, digit: str, notes=None) -> torch.Tensor:
    """The bank named by a digit, computed or taken."""
    return fill_bank(
        lambda index: torch.full((2, 4), float(index)),
        range(3),
        (2, 4),
        device=torch.device("cpu"),
        shelf=shelf_of(folder, digit),
        progress=silent,
        note=(notes if notes is not None else []).append,
    )


def age(path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def names(folder) -> str:
    """The digits of the banks that are whole, in order."""
    labels = {path.stem for path in folder.glob("*.json")}
    assert labels == {path.stem for path in folder.glob("*.f32")}
    return "".join(sorted(stem[0] for stem in labels))


def size_of(folder, digit: str) -> int:
    shelf = shelf_of(folder, digit)
    return shelf.data.stat().st_size + shelf.label.stat().st_size


@pytest.fixture
def three(folder):
    """Banks a, b and c, used two hours, one hour and half an hour ago, none of them in use."""
    for digit, hours in (("a", 2), ("b", 1), ("c", 0.5)):
        fill(folder, digit)
        age(shelf_of(folder, digit).label, 3600 * hours)
    return folder


def test_the_banks_used_longest_ago_go_first_and_it_is_said(three):
    notes: list[str] = []
    make_room(three, limit=3 * size_of(three, "a"), note=notes.append)
    assert (names(three), notes) == ("abc", [])
    make_room(three, limit=3 * size_of(three, "a") - 1, note=notes.append)
    assert names(three) == "bc"
    make_room(three, limit=0, note=notes.append)
    assert names(three) == ""
    assert len(notes) == 3
    assert all("removed a probe bank" in note and str(three) in note for note in notes)


def test_a_bank_that_was_taken_is_used_last(three):
    fill(three, "a")
    make_room(three, limit=SIZE + 400, note=lambda line: None)
    assert names(three) == "a"


@pytest.mark.parametrize("mapped", [False, True])
def test_storing_a_bank_makes_room_and_keeps_the_new_one(three, monkeypatch, mapped):
    monkeypatch.setattr("dgdd_cli.engine.bank.LIMIT", 1)
    if mapped:
        monkeypatch.setattr("dgdd_cli.engine.bank.free_memory_bytes", lambda device: SIZE + 8)
    notes: list[str] = []
    bank = fill(three, "d", notes)
    assert names(three) == "d"
    assert len(notes) == 3
    assert torch.equal(fill(three, "d", notes), bank)
    assert len(notes) == 3  # taking one removes nothing


@pytest.mark.parametrize("taken", [False, True])
def test_a_bank_stays_as_long_as_a_run_has_it(folder, taken):
    if taken:
        fill(folder, "a")
    bank = fill(folder, "a")
    age(shelf_of(folder, "a").label, DAY)
    make_room(folder, limit=0, note=lambda line: None)
    assert names(folder) == "a"
    assert bank[2, 0, 0] == 2
    del bank
    make_room(folder, limit=0, note=lambda line: None)
    assert names(folder) == ""


def test_a_bank_that_another_process_uses_stays(three):
    script = "import sys; from dgdd_cli.engine.in_use import hold; from pathlib import Path; "
    script += "hold(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    data = shelf_of(three, "a").data
    command = [sys.executable, "-c", script, str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        make_room(three, limit=0, note=lambda line: None)
        assert names(three) == "a"
        other.communicate()
    make_room(three, limit=0, note=lambda line: None)
    assert names(three) == ""


def test_what_is_being_written_stays_and_what_was_given_up_goes(folder):
    folder.mkdir()
    writing, given_up, recent = (folder / f".writing-{name * 8}.tmp" for name in "wgr")
    unlabelled, about_to_be = shelf_of(folder, "a").data, shelf_of(folder, "b").data
    for path in (writing, given_up, recent, unlabelled, about_to_be):
        path.write_bytes(b"0" * 100)
    for path in (writing, given_up, unlabelled):
        age(path, DAY)
    handle = hold(writing)
    notes: list[str] = []
    make_room(folder, limit=0, note=notes.append)
    os.close(handle)
    assert set(folder.iterdir()) == {writing, recent, about_to_be}
    assert ["unfinished" in note for note in notes] == [True, True]


def test_files_that_are_not_banks_are_never_touched(three, tmp_path):
    outside = tmp_path / "precious.f32"
    outside.write_bytes(b"1" * 1000)
    for name in ("notes.txt", "a.json", "A" * 32 + ".f32", "a" * 33 + ".f32", "a" * 32 + ".f32.bak", ".writing-x.tmp"):
        (three / name).write_bytes(b"1" * 1000)
    (three / ("e" * 32 + ".f32")).symlink_to(outside)
    (three / ("f" * 32 + ".json")).mkdir()
    theirs = {path for path in three.iterdir() if path.stem not in ("a" * 32, "b" * 32, "c" * 32)}
    theirs.add(three / ("a" * 32 + ".f32.bak"))
    for path in theirs:
        os.utime(path, (1, 1), follow_symlinks=False)
    make_room(three, limit=0, note=lambda line: None)
    assert set(three.iterdir()) == theirs
    assert outside.exists()


def test_foreign_files_do_not_count(three):
    (three / "huge.txt").write_bytes(b"1" * 10_000)
    make_room(three, limit=3 * size_of(three, "a"), note=lambda line: None)
    assert names(three) == "abc"


def test_a_bank_that_is_being_removed_is_computed_again(three):
    handle = os.open(shelf_of(three, "a").data, os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    notes: list[str] = []
    assert fill(three, "a", notes)[1, 0, 0] == 1
    os.close(handle)
    assert (names(three), notes) == ("abc", [])


def test_without_locks_banks_are_kept_and_none_is_removed(three, monkeypatch):
    def unsupported(*arguments):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unsupported)
    monkeypatch.setattr("dgdd_cli.engine.bank.LIMIT", 1)
    notes: list[str] = []
    assert fill(three, "d", notes)[2, 0, 0] == 2
    assert (names(three), notes) == ("abcd", [])


def test_a_folder_that_does_not_exist_has_room(folder):
    make_room(folder, limit=0, note=pytest.fail)
