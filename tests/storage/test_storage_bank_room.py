"""The folder of banks has a bound: who goes first, who stays whatever its age, and what is nobody's business."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dgdd_cli.errors import UsageError
from dgdd_cli.probes.bank import Shelf, fill_bank
from dgdd_cli.progress import silent
from dgdd_cli.storage.bank_room import ABANDONED, LIMIT, make_room, room_limit
from dgdd_cli.storage.in_use import hold, remove_unused

SIZE = 4 * 3 * 2 * 4  # bytes of data of a bank here
DAY = ABANDONED + 60


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "banks"


def shelf_of(folder, digit: str) -> Shelf:
    return Shelf(folder, digit * 32, "these images")


def fill(folder, digit: str, notes=None, count=3) -> torch.Tensor:
    """The bank named by a digit, computed or taken."""
    return fill_bank(
        lambda index: torch.full((2, 4), float(index)),
        range(count),
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


@pytest.fixture
def meanwhile(monkeypatch):
    """Another process does something between the opening of a file and its lock, once."""

    def at_next_lock(act):
        def flock(*arguments, lock=fcntl.flock):
            monkeypatch.setattr("fcntl.flock", lock)
            act()
            lock(*arguments)

        monkeypatch.setattr("fcntl.flock", flock)

    return at_next_lock


def test_the_banks_used_longest_ago_go_first_and_it_is_said(three):
    notes: list[str] = []
    make_room(three, limit=2 * size_of(three, "a") + 1, note=notes.append)
    assert (names(three), notes) == ("abc", [])
    make_room(three, limit=2 * size_of(three, "a"), note=notes.append)
    assert names(three) == "bc"
    make_room(three, limit=0, note=notes.append)
    assert names(three) == ""
    assert len(notes) == 3
    assert all("removed a probe bank" in note and str(three) in note for note in notes)


def test_a_bank_that_was_taken_is_used_last(three):
    fill(three, "a")
    make_room(three, limit=size_of(three, "a"), note=lambda line: None)
    assert names(three) == "a"


@pytest.mark.parametrize("mapped", [False, True])
def test_storing_a_bank_makes_room_and_keeps_the_new_one(three, monkeypatch, mapped):
    monkeypatch.setattr("dgdd_cli.probes.bank.room_limit", lambda folder: 1)
    if mapped:
        monkeypatch.setattr("dgdd_cli.probes.bank.free_memory_bytes", lambda device: SIZE + 8)
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
    script = "import sys; from dgdd_cli.storage.in_use import hold; from pathlib import Path; "
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
    monkeypatch.setattr("dgdd_cli.probes.bank.room_limit", lambda folder: 1)
    notes: list[str] = []
    assert fill(three, "d", notes)[2, 0, 0] == 2
    assert (names(three), notes) == ("abcd", [])


def test_a_folder_that_does_not_exist_has_room(folder):
    make_room(folder, limit=0, note=pytest.fail)


def test_a_large_bank_does_not_go_for_small_newer_ones_until_they_fill_the_limit(folder):
    fill(folder, "a", count=100)
    age(shelf_of(folder, "a").label, 7200)
    for digit, stay in (("b", "ab"), ("c", "abc"), ("d", "bcd")):
        fill(folder, digit)
        make_room(folder, limit=3 * size_of(folder, "b"), note=lambda line: None)
        assert names(folder) == stay


def test_a_bank_never_goes_for_a_single_smaller_one(folder):
    fill(folder, "a", count=4)
    age(shelf_of(folder, "a").label, 60)
    fill(folder, "b")
    make_room(folder, limit=SIZE, note=lambda line: None)
    assert names(folder) == "ab"


@pytest.mark.parametrize(("total", "limit"), [(10 * 2**30, LIMIT), (2**40, 2**40 // 10)])
def test_the_limit_grows_with_the_file_system(folder, monkeypatch, total, limit):
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(total=total))
    assert room_limit(folder) == limit


@pytest.fixture
def full_disk(three, monkeypatch):
    """A disk that the three banks fill; nothing goes into memory."""
    capacity = 3 * size_of(three, "a") + 20

    def usage(place):
        return SimpleNamespace(total=capacity, free=capacity - sum(path.stat().st_size for path in three.iterdir()))

    monkeypatch.setattr("shutil.disk_usage", usage)
    monkeypatch.setattr("dgdd_cli.probes.bank.free_memory_bytes", lambda device: 10)
    return three


@pytest.mark.parametrize(("digit", "count", "left"), [("d", 5, "bcd"), ("d", 12, "cd"), ("c", 5, "abc")])
def test_on_a_full_disk_old_banks_go_for_a_new_one(full_disk, digit, count, left):
    notes: list[str] = []
    assert len(fill(full_disk, digit, notes, count)) == count
    assert names(full_disk) == left
    assert all("needs the disk" in note or "another size" in note for note in notes)


def test_no_bank_goes_for_one_that_has_no_room_even_so(full_disk):
    with pytest.raises(UsageError, match="disk are free"):
        fill(full_disk, "d", count=100)
    assert names(full_disk) == "abc"


def test_what_another_process_removes_at_the_same_time_counts_as_removed(three, meanwhile):
    shelf = shelf_of(three, "a")
    meanwhile(lambda: (shelf.label.unlink(), shelf.data.unlink()))
    make_room(three, limit=2 * size_of(three, "a"), note=lambda line: None)
    assert names(three) == "bc"
    assert remove_unused(shelf.data)


@pytest.mark.parametrize("view_of", [lambda bank: bank[1], lambda bank: bank.detach()[1], lambda bank: bank.numpy()[1]])
def test_a_view_of_a_bank_keeps_it(three, view_of):
    view = view_of(fill(three, "a"))
    make_room(three, limit=0, note=lambda line: None)
    assert names(three) == "a"
    assert view[0, 0] == 1
    del view
    make_room(three, limit=0, note=lambda line: None)
    assert names(three) == ""


def test_a_run_killed_at_the_label_leaves_only_what_is_removed_later(folder, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr("os.replace", killed)
        during.setattr(Path, "unlink", lambda *arguments, **options: None)
        with pytest.raises(KeyboardInterrupt):
            fill(folder, "a")
    left = list(folder.iterdir())
    for path in left:
        age(path, DAY)
    make_room(folder, limit=0, note=lambda line: None)
    assert (len(left), list(folder.iterdir())) == (2, [])


def test_a_file_removed_before_its_lock_is_not_held(three, meanwhile):
    data = shelf_of(three, "a").data
    meanwhile(data.unlink)
    with pytest.raises(FileNotFoundError):
        hold(data)


def test_a_bank_that_took_the_place_of_an_old_one_is_not_removed_for_it(three, meanwhile):
    old, new = shelf_of(three, "a"), shelf_of(three, "b")
    content = new.data.read_bytes()
    meanwhile(lambda: os.replace(new.data, old.data))
    assert not remove_unused(old.data, old.label)
    assert (old.data.read_bytes(), old.label.exists()) == (content, True)


def test_a_bank_stored_anew_as_the_old_one_goes_keeps_its_label(three, monkeypatch):
    shelf = shelf_of(three, "a")
    content, unlink = shelf.label.read_bytes(), Path.unlink

    def stored_at_once(path, **options):
        unlink(path, **options)
        if path == shelf.data:
            shelf.data.write_bytes(b"new")
            shelf.label.write_bytes(content)

    monkeypatch.setattr(Path, "unlink", stored_at_once)
    assert remove_unused(shelf.data, shelf.label)
    assert names(three) == "abc"
