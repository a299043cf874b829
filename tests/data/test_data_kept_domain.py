from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path

import pytest
import torch
from data_pictures import draw_tree, picture, write
from safetensors.torch import load_file, save_file

from dgdd_cli.data import kept_domain
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.load import load_dataset
from dgdd_cli.errors import DataError
from dgdd_cli.storage.cache import Cache


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_tree(tmp_path / "mine", {"a": ["x", "y"], "b": ["x", "y"]})


def load(root: Path, folder: Path | None, **options: object) -> tuple[DomainDataset, Counter[str]]:
    """The dataset, and how often each stage was reported."""
    stages: Counter[str] = Counter()

    def note(stage: str, done: int, total: int, figures: object = None) -> None:
        stages[stage.split()[0]] += 1

    return load_dataset(
        root, image_size=8, cache=None if folder is None else Cache(folder), progress=note, **options
    ), stages  # type: ignore[arg-type]


def files(folder: Path) -> list[Path]:
    """The decoded domains that are kept."""
    return sorted(path for path in folder.rglob("*.safetensors") if path.is_file())


def test_the_second_run_decodes_nothing_and_gives_the_same(root: Path, tmp_path: Path) -> None:
    plain, _ = load(root, None)
    first, decoded = load(root, tmp_path / "cache")
    second, cached = load(root, tmp_path / "cache")
    assert decoded["decoding"] == 2
    assert cached["decoding"] == 0
    assert torch.equal(first.images, plain.images)
    assert torch.equal(second.images, plain.images)
    assert second.fingerprint() == plain.fingerprint()
    assert len(files(tmp_path / "cache")) == 2


def test_the_held_out_domain_is_not_cached_either(root: Path, tmp_path: Path) -> None:
    load(root, tmp_path / "cache", domains=["a"])
    assert len(files(tmp_path / "cache")) == 1


@pytest.mark.parametrize("change", ["content", "added", "removed", "renamed", "size"])
def test_any_change_of_the_content_is_another_key(root: Path, tmp_path: Path, change: str) -> None:
    load(root, tmp_path / "cache", domains=["a"])
    path = root / "a" / "x" / "1.png"
    if change == "content":
        write(path, picture(99))
    elif change == "added":
        write(root / "a" / "x" / "2.png", picture(99))
    elif change == "removed":
        path.unlink()
    elif change == "renamed":
        path.rename(path.with_name("7.png"))
    size = 9 if change == "size" else 8
    load_dataset(root, image_size=size, cache=Cache(tmp_path / "cache"), domains=["a"])
    assert len(files(tmp_path / "cache")) == 2
    again = load_dataset(root, image_size=size, cache=Cache(tmp_path / "cache"), domains=["a"])
    assert torch.equal(again.images, load_dataset(root, image_size=size, domains=["a"]).images)


def test_a_new_reader_does_not_trust_the_old_one(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(root, tmp_path / "cache")
    monkeypatch.setattr(kept_domain, "READER", kept_domain.READER + 1)
    assert load(root, tmp_path / "cache")[1]["decoding"] == 2


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "flipped", "foreign", "folder"])
def test_a_damaged_entry_is_decoded_anew_and_said_so(
    root: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain, _ = load(root, tmp_path / "cache", domains=["a"])
    (path,) = files(tmp_path / "cache")
    whole = path.read_bytes()
    if damage == "foreign":
        save_file({"images": torch.zeros(4, 3, 8, 8), "kept": torch.arange(4)}, path)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        flipped = whole[:-1] + bytes([whole[-1] ^ 1])
        path.write_bytes({"empty": b"", "truncated": whole[:-9], "garbage": b"x" * 200, "flipped": flipped}[damage])
    again, stages = load(root, tmp_path / "cache", domains=["a"])
    assert stages["decoding"] == 1
    assert "rebuilt" in caplog.text
    assert torch.equal(again.images, plain.images)
    if damage != "folder":
        assert path.read_bytes() == whole


def test_rows_out_of_range_are_not_believed(root: Path, tmp_path: Path) -> None:
    load(root, tmp_path / "cache", domains=["a"])
    (path,) = files(tmp_path / "cache")
    images = load_file(path)["images"].clone()
    for kept in ([0, 1, 2, 4], [0, 1, 1, 2], [-1, 0, 1, 2]):
        kept_domain.write_domain_file(path, images, kept_domain.Kept(torch.tensor(kept)))
        with pytest.raises(ValueError, match="other images"):
            kept_domain.read_domain_file(path, 4, torch.zeros(4, 3, 8, 8, dtype=torch.uint8))


def test_corrupt_images_stay_known_to_the_cache(root: Path, tmp_path: Path) -> None:
    (root / "a" / "x" / "1.png").write_bytes(b"broken")
    first, _ = load(root, tmp_path / "cache", skip_corrupt=True)
    second, stages = load(root, tmp_path / "cache", skip_corrupt=True)
    assert stages["decoding"] == 0
    assert (second.skipped, second.notes) == (first.skipped, first.notes)
    assert second.skipped == 1
    assert torch.equal(second.labels, first.labels)
    with pytest.raises(DataError, match=r"a/x/1\.png cannot be read"):
        load(root, tmp_path / "cache")


def test_an_unwritable_cache_is_a_warning(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    dataset, _ = load(root, blocker)
    assert len(dataset) == 8
    assert "the decoded images of a cannot be kept: Not a directory" in caplog.messages
    assert blocker.read_text() == "not a folder"


def test_a_full_disk_is_a_warning_and_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dgdd_cli.storage.kept_tensors.save_file", full)
    dataset, _ = load(root, tmp_path / "cache")
    assert len(dataset) == 8
    assert "the decoded images of a cannot be kept: No space left on device" in caplog.messages
    assert files(tmp_path / "cache") == []


def test_a_file_that_goes_while_it_is_read_is_decoded_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = load(root, tmp_path / "cache")

    class Vanishing:
        """The header was read; then another process removes the file, as torch reports when it opens the tensors."""

        def __init__(self, path: Path, framework: str) -> None:
            path.unlink()

        def __enter__(self) -> None:
            raise RuntimeError("unable to open file in read-only mode: No such file or directory (2)")

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("dgdd_cli.storage.kept_tensors.safe_open", Vanishing)
    after, _ = load(root, tmp_path / "cache")
    assert after.fingerprint() == before.fingerprint()


def _race(root: Path, folder: Path, barrier: object, answers: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    for _ in range(5):
        dataset = load_dataset(root, image_size=8, cache=Cache(folder))
        answers.put((dataset.fingerprint(), dataset.notes))  # type: ignore[attr-defined]
        for path in files(folder):
            path.unlink(missing_ok=True)


def test_two_processes_may_race(root: Path, tmp_path: Path) -> None:
    expected = load_dataset(root, image_size=8).fingerprint()
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_race, args=(root, tmp_path / "cache", barrier, answers)) for _ in range(2)]
    for racer in racers:
        racer.start()
    seen = [answers.get(timeout=120) for _ in range(10)]
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert {fingerprint for fingerprint, _ in seen} == {expected}
