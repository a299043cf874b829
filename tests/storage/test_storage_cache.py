"""The cache: hits, misses, damage, the bound, other processes, and what it says."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dgdd_cli.errors import UnknownName
from dgdd_cli.storage.cache import ABANDONED, LIMIT, Cache, Key


def key(name: str = "a", facts: str = "x", kind: str = "banks") -> Key:
    return Key(kind, f"the bank {name}", {"name": name}, {"facts": facts})


def put(cache: Cache, which: Key, data: bytes = b"kept", used: float | None = None) -> Path:
    path = cache.put(which, lambda at: at.write_bytes(data))
    assert path is not None
    if used is not None:
        os.utime(path, (used, used))
    return path


def test_what_is_put_is_found_under_the_same_choices_and_facts_only(tmp_path, caplog):
    cache = Cache(tmp_path)
    put(cache, key())
    assert cache.get(key(), Path.read_bytes) == b"kept"
    with caplog.at_level(logging.INFO, "dgdd"):
        assert cache.get(key(name="b"), Path.read_bytes) is None
        assert not caplog.records, "a plain miss is silent"
        assert cache.get(key(facts="y"), Path.read_bytes) is None
    assert "other images" in caplog.text


def test_an_entry_that_does_not_verify_is_dropped_and_said(tmp_path, caplog):
    cache = Cache(tmp_path)
    path = put(cache, key(), b"damaged")

    def refuse(at: Path) -> bytes:
        raise ValueError("its sha256 differs")

    assert cache.get(key(), refuse) is None
    assert "the bank a: the kept file cannot be used (its sha256 differs)" in caplog.text
    assert not path.exists()


def test_each_thing_is_said_once(tmp_path, caplog):
    cache = Cache(tmp_path)
    put(cache, key())
    with caplog.at_level(logging.INFO, "dgdd"):
        for facts in ("y", "z"):
            assert cache.get(key(facts=facts), Path.read_bytes) is None
    assert len(caplog.records) == 1


def test_an_entry_appears_whole_with_the_mode_that_the_umask_leaves(tmp_path):
    def write(at: Path) -> None:
        at.unlink()  # a writer may replace the file it is given
        at.touch(mode=0o600)
        at.write_bytes(b"kept")
        assert not cache.path(key()).exists()

    cache, before = Cache(tmp_path), os.umask(0o027)
    try:
        path = cache.put(key(), write)
    finally:
        os.umask(before)
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), KeyboardInterrupt(), ZeroDivisionError()])
def test_a_write_that_fails_leaves_nothing(tmp_path, problem, caplog):
    def write(at: Path) -> None:
        at.write_bytes(b"half")
        raise problem

    cache = Cache(tmp_path)
    old = put(cache, key())
    if isinstance(problem, OSError):
        assert cache.put(key(), write) is None
        assert "the bank a cannot be kept: No space left on device" in caplog.text
    else:
        with pytest.raises(type(problem)):
            cache.put(key(), write)
    assert list(old.parent.iterdir()) == [old]
    assert old.read_bytes() == b"kept"


def test_entries_yield_to_a_disk_that_is_nearly_full(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    old = put(cache, key("old"), bytes(100), used=1000)
    new = put(cache, key("new"), bytes(100), used=2000)
    usage = shutil.disk_usage(tmp_path)._replace(free=20)
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    assert cache.room() == 198
    cache.trim()
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize(("total", "room"), [(10 * 2**30, LIMIT), (2**40, 2**40 // 10)])
def test_the_bound_grows_with_the_file_system(tmp_path, monkeypatch, total, room):
    usage = shutil.disk_usage(tmp_path)._replace(total=total, free=total)
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    assert Cache(tmp_path / "not" / "yet").room() == room


def test_the_least_recently_used_go_beyond_the_bound_whatever_their_kind(tmp_path):
    cache = Cache(tmp_path, limit=25)
    old = put(cache, key("old", kind="scores"), b"0123456789", used=1000)
    middle = put(cache, key("middle", kind="groups"), b"0123456789", used=2000)
    assert cache.get(key("old", kind="scores"), Path.read_bytes) is not None  # used now
    new = put(cache, key("new"), b"0123456789")
    assert old.exists()
    assert new.exists()
    assert not middle.exists()


def test_an_entry_above_the_bound_alone_is_kept_until_the_next(tmp_path):
    cache = Cache(tmp_path, limit=5)
    large = put(cache, key("large"), b"0123456789", used=1000)
    assert large.exists()
    small = put(cache, key("small"), b"0")
    assert not large.exists()
    assert small.exists()


def test_unfinished_files_go_when_their_writer_cannot_live_any_more(tmp_path):
    cache = Cache(tmp_path)
    path = put(cache, key())
    stale, fresh = path.with_name(".dgdd-1-0.tmp"), path.with_name(".dgdd-2-0.tmp")
    for file in (stale, fresh):
        file.write_bytes(b"half")
    long_ago = path.stat().st_mtime - ABANDONED - 10
    os.utime(stale, (long_ago, long_ago))
    cache.trim()
    assert not stale.exists()
    assert fresh.exists()
    assert path.exists()


def test_foreign_files_and_links_are_left_alone(tmp_path):
    cache = Cache(tmp_path, limit=0)
    outside = tmp_path / "notes.txt"
    outside.write_text("mine")
    (tmp_path / "banks").mkdir()
    (tmp_path / "banks" / "link.safetensors").symlink_to(outside)
    cache.trim()
    cache.clear("banks")
    assert outside.read_text() == "mine"


def test_usage_counts_entries_and_the_bytes_of_all_files(tmp_path):
    cache = Cache(tmp_path)
    path = put(cache, key(), b"12345")
    put(cache, key("b", kind="decoded"), b"123")
    path.with_name(".dgdd-1-0.tmp").write_bytes(b"12")
    by_kind = {use.kind: (use.entries, use.bytes) for use in cache.usage()}
    assert by_kind == {"decoded": (1, 3), "banks": (1, 7), "groups": (0, 0), "scores": (0, 0)}
    cleared = cache.clear("banks")
    assert (cleared.entries, cleared.bytes) == (1, 7)
    assert sum(use.bytes for use in cache.usage()) == 3


def test_an_unknown_kind_is_refused_with_the_near_one(tmp_path):
    with pytest.raises(UnknownName) as problem:
        Cache(tmp_path).clear("bank")
    assert problem.value.exit_code == 2
    assert "'banks'" in str(problem.value.hint)


def test_a_disk_that_takes_nothing_costs_a_warning(tmp_path, caplog):
    (tmp_path / "banks").write_text("a file where the folder should be")
    cache = Cache(tmp_path)
    assert cache.put(key(), lambda at: at.write_bytes(b"x")) is None
    assert "the bank a cannot be kept" in caplog.text
    assert cache.get(key(), Path.read_bytes) is None


RACE = """
import sys
from pathlib import Path
from dgdd_cli.storage.atomic import write_atomically
from dgdd_cli.storage.cache import Cache, Key
cache, bad = Cache(Path(sys.argv[1]), limit=3000), 0
for turn in range(150):
    which = Key("banks", "it", {"n": turn % 7}, {})
    want = bytes([turn % 7]) * 1000
    def read(path):
        data = path.read_bytes()
        if data != want:
            raise ValueError("torn")
        return data
    if cache.get(which, read) is None:
        cache.put(which, lambda path: write_atomically(path, want, overwrite=True))
print("done")
"""


def test_processes_that_write_read_and_delete_at_once_see_whole_entries(tmp_path):
    workers = [
        subprocess.Popen([sys.executable, "-c", RACE, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for worker in workers:
        out, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, err.decode()
        assert out.decode().strip() == "done"
        assert b"torn" not in err
