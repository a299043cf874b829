import json
import os
import shutil
from dataclasses import replace

import pytest
import torch

from dgdd_cli.config import Probes
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.errors import DgddError, UsageError
from dgdd_cli.probes.bank import Shelf, fill_bank
from dgdd_cli.probes.source import probe_source
from dgdd_cli.progress import silent
from dgdd_cli.storage.in_use import remove_unused

CPU = torch.device("cpu")
SHAPE = (3, 4)
NORM = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")


def statistics(index: int) -> torch.Tensor:
    return torch.full(SHAPE, float(index)) + torch.arange(12.0).view(SHAPE) / 100


def never(index: int) -> torch.Tensor:
    pytest.fail("it was computed again")


def fill(compute, shelf, notes=None, count=5):
    note = (notes if notes is not None else []).append
    return fill_bank(compute, range(count), SHAPE, device=CPU, shelf=shelf, progress=silent, note=note)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "banks", "abc", "these images")


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr("dgdd_cli.probes.bank.free_memory_bytes", lambda device: 4 * 12 * 5 + 8)


def test_a_bank_holds_what_was_computed(shelf):
    expected = torch.stack([statistics(i) for i in range(5)])
    assert torch.equal(fill(statistics, None), expected)
    assert torch.equal(fill(statistics, shelf), expected)


def test_a_second_run_takes_it_from_the_shelf(shelf):
    first = fill(statistics, shelf)
    notes = []
    assert torch.equal(fill(never, shelf, notes), first)
    assert notes == []


def test_a_large_bank_is_memory_mapped_and_found_again(shelf, little_memory):
    first = fill(statistics, shelf)
    assert shelf.data.stat().st_size == 4 * 60
    assert torch.equal(fill(never, shelf), first)
    assert sorted(path.suffix for path in shelf.folder.iterdir()) == [".f32", ".json"]


def test_without_a_shelf_a_bank_takes_what_memory_there_is(little_memory):
    assert fill(statistics, None).shape == (5, *SHAPE)


def test_other_images_make_another_bank(shelf):
    fill(statistics, shelf)
    notes = []
    other = Shelf(shelf.folder, shelf.name, "other images")
    assert torch.equal(fill(lambda i: -statistics(i), other, notes)[1], -statistics(1))
    assert notes == ["the cached probe bank was made from other images: rebuilt"]
    assert torch.equal(fill(never, other)[1], -statistics(1))


def damage_data(shelf):
    held = bytearray(shelf.data.read_bytes())
    held[17] ^= 1
    shelf.data.write_bytes(held)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage_data, "damaged"),
        (lambda s: s.data.write_bytes(s.data.read_bytes()[:-4]), "another size"),
        (lambda s: s.label.write_text("{"), "cannot be read"),
        (lambda s: s.label.write_text("[]"), "cannot be read"),
        (lambda s: s.label.write_text(json.dumps({"schema": "dgdd.bank/9"})), "cannot be read"),
        (lambda s: s.label.write_bytes(b"\xff\xfe"), "cannot be read"),
    ],
)
def test_a_damaged_bank_is_rebuilt_and_said_so(shelf, harm, said):
    fill(statistics, shelf)
    harm(shelf)
    notes = []
    assert torch.equal(fill(statistics, shelf, notes)[3], statistics(3))
    assert said in notes[0]
    assert torch.equal(fill(never, shelf)[3], statistics(3))


def test_a_folder_that_cannot_be_written_costs_only_the_cache(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    notes = []
    assert fill(statistics, Shelf(tmp_path / "file", "abc", "x"), notes).shape == (5, *SHAPE)
    assert "not kept" in notes[0]


def test_an_interrupted_bank_leaves_nothing_behind(shelf, little_memory):
    def interrupted(index: int) -> torch.Tensor:
        if index == 3:
            raise KeyboardInterrupt
        return statistics(index)

    with pytest.raises(KeyboardInterrupt):
        fill(interrupted, shelf)
    assert list(shelf.folder.iterdir()) == []


def test_a_bank_that_fits_nowhere_is_refused_beforehand(shelf, monkeypatch):
    monkeypatch.setattr("dgdd_cli.probes.bank.free_memory_bytes", lambda device: 2 * 48 * 2)
    monkeypatch.setattr("dgdd_cli.probes.bank.disk_room", lambda folder: 100)
    with pytest.raises(UsageError, match=r"bank of 5 probes needs .* GiB, and .* of memory and .* of disk") as caught:
        fill(never, shelf)
    assert "--probes bank:2" in caught.value.hint


def test_a_large_bank_that_is_stored_needs_no_more_disk(shelf, monkeypatch):
    monkeypatch.setattr("dgdd_cli.probes.bank.free_memory_bytes", lambda device: 100)
    first = fill(statistics, shelf)
    monkeypatch.setattr("dgdd_cli.probes.bank.disk_room", lambda folder: 0)
    assert torch.equal(fill(never, shelf), first)


def replace_data(shelf):
    copy = shelf.folder / "copy"
    shutil.copy(shelf.data, copy)
    os.replace(copy, shelf.data)


@pytest.mark.parametrize("happens", [replace_data, lambda shelf: shelf.data.unlink()])
def test_a_bank_that_changes_hands_while_it_is_taken_is_rebuilt_and_said_so(shelf, monkeypatch, happens):
    fill(statistics, shelf)
    map_file, notes, before = torch.from_file, [], len(os.listdir("/dev/fd"))

    def meanwhile(*arguments, **options):
        happens(shelf)
        return map_file(*arguments, **options)

    monkeypatch.setattr("torch.from_file", meanwhile)
    bank = fill(statistics, shelf, notes)
    assert torch.equal(bank[3], statistics(3))
    assert notes == ["the cached probe bank was replaced or removed meanwhile: rebuilt"]
    assert not remove_unused(shelf.data)
    del bank
    assert len(os.listdir("/dev/fd")) == before


def test_a_run_that_is_interrupted_while_it_takes_a_bank_lets_go_of_it(shelf, monkeypatch):
    def interrupted(bank):
        raise KeyboardInterrupt

    fill(statistics, shelf)
    monkeypatch.setattr("dgdd_cli.probes.bank._sha256", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(never, shelf)
    assert remove_unused(shelf.data)


@pytest.mark.parametrize("free", [100, 10_000])
@pytest.mark.parametrize("fails", [".f32", ".json"])
def test_a_label_that_the_disk_does_not_take_costs_only_the_cache(shelf, monkeypatch, free, fails):
    def full(source, target, rename=os.replace):
        if target.suffix == fails:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr("dgdd_cli.probes.bank.free_memory_bytes", lambda device: free)
    notes = []
    with monkeypatch.context() as during:
        during.setattr("os.replace", full)
        bank = fill(statistics, shelf, notes)
    assert torch.equal(bank[3], statistics(3))
    assert notes == ["the probe bank is not kept for the next run: No space left on device"]
    assert set(shelf.folder.iterdir()) <= {shelf.data}
    assert torch.equal(fill(statistics, shelf), bank)
    assert torch.equal(fill(never, shelf), bank)


def test_runs_share_a_bank_and_a_changed_dataset_does_not(shapes, tmp_path):
    probes = Probes.model_validate({"width": 8, "augment": "color", "source": "bank:3"})
    notes: list[str] = []

    def bank_of(dataset, seed=0):
        at = probe_source(
            dataset, probes, NORM, seed=seed, steps=3, device=CPU, progress=silent, cache=tmp_path, note=notes.append
        )
        return torch.stack([at(step).cells for step in range(3)])

    dataset = shapes()
    first = bank_of(dataset)
    assert len(list((tmp_path / "banks").glob("*.f32"))) == 1
    assert torch.equal(bank_of(dataset), first)
    assert not torch.equal(bank_of(dataset, seed=1), first)
    assert notes == []
    assert not torch.equal(bank_of(replace(dataset, images=255 - dataset.images)), first)
    assert notes == ["the cached probe bank was made from other images: rebuilt"]


def test_a_disk_without_room_for_a_mapped_bank_is_an_error_before_the_work(shelf, little_memory, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DgddError, match="no room for a bank") as caught:
        fill(never, shelf)
    assert "--cache-dir" in caught.value.hint
    assert list(shelf.folder.iterdir()) == []


def test_pseudo_domains_do_not_push_each_other_out(shapes, tmp_path):
    from dataclasses import replace

    probes, notes = Probes.model_validate({"width": 8, "augment": "color", "source": "bank:2"}), []
    one = shapes()
    other = replace(one, domains=one.domains.flip(0))
    for dataset in (one, other, one):
        probe_source(
            dataset, probes, NORM, seed=0, steps=2, device=CPU, progress=silent, cache=tmp_path, note=notes.append
        )
    assert notes == []
    assert len(list((tmp_path / "banks").glob("*.f32"))) == 2
