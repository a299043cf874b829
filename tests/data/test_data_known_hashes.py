"""Unchanged files are not read again; whatever may have changed is."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
import torch
from data_pictures import draw_tree, picture, write

from dgdd_cli.data import files, kept_domain
from dgdd_cli.data.load import load_dataset
from dgdd_cli.storage.cache import Cache

Reads = Counter[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_tree(tmp_path / "mine", {"a": ["x", "y"], "b": ["x", "y"]})


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """How often each file was read."""
    counts: Reads = Counter()
    real = files.read_file

    def counted(path: Path) -> bytes:
        counts["/".join(path.parts[-3:])] += 1
        return real(path)

    monkeypatch.setattr(files, "read_file", counted)
    return counts


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the test has written so far, and will write, has been at rest for long."""
    real = kept_domain.file_system_time
    monkeypatch.setattr(kept_domain, "file_system_time", lambda place: (real(place) or 0) + 3600 * 10**9)


def load(root: Path, tmp_path: Path, size: int = 8) -> torch.Tensor:
    return load_dataset(root, image_size=size, cache=Cache(tmp_path / "cache")).images


@pytest.mark.usefixtures("later")
def test_a_second_run_reads_no_file(root: Path, tmp_path: Path, reads: Reads) -> None:
    first = load(root, tmp_path)
    reads.clear()
    assert torch.equal(load(root, tmp_path), first)
    assert reads == {}


@pytest.mark.usefixtures("later")
def test_another_size_reads_each_file_once_to_decode_it(root: Path, tmp_path: Path, reads: Reads) -> None:
    load(root, tmp_path)
    reads.clear()
    load(root, tmp_path, size=9)
    assert set(reads.values()) == {1}
    assert len(reads) == 8


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("change", ["content", "same size and time", "replaced", "added", "link"])
def test_only_what_changed_is_read_and_is_noticed(root: Path, tmp_path: Path, reads: Reads, change: str) -> None:
    path = root / "a" / "x" / "1.png"
    if change == "link":
        path.rename(root / "first.png")
        write(root / "second.png", picture(99))
        path.symlink_to(root / "first.png")
    load(root, tmp_path)
    before = path.stat()
    if change == "content":
        write(path, picture(99))
    elif change == "same size and time":
        whole = bytearray(path.read_bytes())
        whole[-1] ^= 1
        path.write_bytes(whole)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    elif change == "replaced":
        os.replace(write(tmp_path / "other.png", picture(99)), path)
    elif change == "added":
        write(root / "a" / "x" / "2.png", picture(99))
    else:
        path.unlink()
        path.symlink_to(root / "second.png")
    reads.clear()
    options = {"image_size": 8, "skip_corrupt": True}
    after = load_dataset(root, cache=Cache(tmp_path / "cache"), **options)  # type: ignore[arg-type]
    touched = "a/x/2.png" if change == "added" else "a/x/1.png"
    assert reads[touched] > 0
    assert not any(name.startswith("b/") for name in reads)
    assert torch.equal(after.images, load_dataset(root, **options).images)  # type: ignore[arg-type]


def test_a_file_written_in_the_moment_of_reading_is_not_believed(root: Path, tmp_path: Path, reads: Reads) -> None:
    load(root, tmp_path)
    reads.clear()
    load(root, tmp_path)
    assert len(reads) == 8


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a/x/0.png": 3}', b'{"a/x/0.png": [1, 2, 3, 4]}', b"\xff"])
def test_damaged_records_are_made_anew(root: Path, tmp_path: Path, reads: Reads, content: bytes) -> None:
    first = load(root, tmp_path)
    for path in (tmp_path / "cache" / "decoded").glob("*.json"):
        path.write_bytes(content)
    assert torch.equal(load(root, tmp_path), first)
    reads.clear()
    load(root, tmp_path)
    assert reads == {}


@pytest.mark.usefixtures("later")
def test_two_copies_of_a_set_do_not_share_records(root: Path, tmp_path: Path) -> None:
    other = draw_tree(tmp_path / "other" / "mine", {"b": ["x", "y"], "a": ["x", "y"]})
    assert not torch.equal(load(root, tmp_path), load(other, tmp_path))


@pytest.mark.usefixtures("later")
def test_a_file_that_cannot_be_read_is_tried_again(root: Path, tmp_path: Path, reads: Reads) -> None:
    victim = root / "a" / "x" / "1.png"
    kept = victim.rename(tmp_path / "kept.png")
    victim.symlink_to(tmp_path / "nowhere.png")
    broken = load_dataset(root, image_size=8, cache=Cache(tmp_path / "cache"), skip_corrupt=True)
    assert broken.skipped == 1
    victim.unlink()
    kept.rename(victim)
    assert len(load(root, tmp_path)) == 8


def test_the_order_of_the_classes_is_part_of_the_key(tmp_path: Path) -> None:
    """The rows of a domain follow its classes, whose order other domains may change by another spelling."""
    root = draw_tree(tmp_path / "mine", {"b": ["Zebra", "apple"]})
    load(root, tmp_path)
    draw_tree(root, {"a": ["Apple", "Zebra"]})
    dataset = load_dataset(root, image_size=8, cache=Cache(tmp_path / "cache"))
    fresh = load_dataset(root, image_size=8)
    assert torch.equal(dataset.images, fresh.images)
    assert torch.equal(dataset.labels, fresh.labels)
