"""Banks: what they hold, what is computed of them when, and where they live."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dgdd_cli.config import Probes
from dgdd_cli.data.dataset import DomainDataset, Normalisation
from dgdd_cli.errors import UsageError
from dgdd_cli.probes import shares
from dgdd_cli.probes.bank import Share, fill_bank
from dgdd_cli.probes.source import Probe, probe_source
from dgdd_cli.probes.view import Partition, image_features
from dgdd_cli.runtime.context import Context
from dgdd_cli.storage.cache import Cache, Key

CPU = torch.device("cpu")
WIDTH = 4
NORM = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")


def statistics(index: int, rows: int = 3) -> torch.Tensor:
    return torch.arange(rows * WIDTH).view(rows, WIDTH) / 100 + index


class Shares:
    """Two shares, of 2 rows and 1 row, that count what is computed."""

    def __init__(self) -> None:
        self.computed: list[int] = []

    def __call__(self) -> list[Share]:
        def compute(index: int, start: int, stop: int) -> torch.Tensor:
            self.computed.append(index)
            return statistics(index)[start:stop]

        def share(start: int, stop: int) -> Share:
            return Share(
                stop - start,
                lambda index: Key("banks", "the probe bank", {"start": start, "index": index}, {}),
                lambda index: compute(index, start, stop),
            )

        return [share(0, 2), share(2, 3)]


def fill(own: Shares, cache: Cache | None, count: int = 5) -> torch.Tensor:
    bank = fill_bank(Context(cache=cache), own(), range(count), WIDTH)
    return torch.stack([bank(place) for place in range(count)])


def free_memory(monkeypatch: pytest.MonkeyPatch, bytes: int) -> None:
    monkeypatch.setattr("dgdd_cli.probes.bank.free_memory_bytes", lambda device: bytes)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


EXPECTED = torch.stack([statistics(index) for index in range(5)])


def test_a_bank_holds_what_was_computed_and_is_found_again(cache: Cache) -> None:
    own = Shares()
    assert torch.equal(fill(own, None), EXPECTED)
    assert torch.equal(fill(own, cache), EXPECTED)
    assert len(own.computed) == 20
    assert torch.equal(fill(own, cache), EXPECTED)
    assert len(own.computed) == 20


def test_a_larger_bank_begins_with_the_smaller_one(cache: Cache) -> None:
    own = Shares()
    fill(own, cache, count=3)
    fill(own, cache, count=5)
    assert own.computed == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_large_bank_is_read_from_the_cache_at_each_step(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory(monkeypatch, 4 * 12 * 5 + 8)
    own = Shares()
    bank = fill_bank(Context(cache=cache), own(), range(5), WIDTH)
    assert len(own.computed) == 10
    assert torch.equal(bank(3), EXPECTED[3])
    assert len(own.computed) == 10
    cache.clear("banks")  # as another process may
    assert torch.equal(bank(3), EXPECTED[3])
    assert len(own.computed) == 12


def test_without_a_cache_a_bank_takes_what_memory_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory(monkeypatch, 4 * 12 * 5)
    assert torch.equal(fill(Shares(), None), EXPECTED)


@pytest.mark.parametrize(("kept", "fits"), [(None, 2), (100, 2), (150, 3)])
def test_a_bank_that_fits_nowhere_is_refused_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int | None, fits: int
) -> None:
    free_memory(monkeypatch, 2 * 48 * 2)
    own = Shares()
    with pytest.raises(UsageError, match=r"bank of 5 probes needs .* GiB, and .* of memory and .* cache") as caught:
        fill(own, None if kept is None else Cache(tmp_path, limit=kept))
    assert f"--probes bank:{fits}" in str(caught.value.hint)
    assert own.computed == []


def flip(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[-3] ^= 1
    path.write_bytes(held)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (flip, "its sha256 differs"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "cannot be used"),
        (lambda path: path.write_bytes(b""), "cannot be used"),
        (lambda path: path.write_bytes(next(p for p in path.parent.iterdir() if p != path).read_bytes()), "else"),
    ],
)
def test_a_damaged_entry_is_computed_anew_and_said_so(
    cache: Cache, caplog: pytest.LogCaptureFixture, harm, said
) -> None:
    own = Shares()
    fill(own, cache)
    harm(cache.path(own()[0].key(3)))
    assert torch.equal(fill(own, cache), EXPECTED)
    assert said in caplog.text
    assert own.computed[10:] == [3]
    assert torch.equal(fill(own, Cache(cache.folder)), EXPECTED)
    assert len(own.computed) == 11


def test_a_folder_that_cannot_be_written_costs_only_the_keeping(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert torch.equal(fill(Shares(), Cache(tmp_path / "file")), EXPECTED)
    assert [record.getMessage() for record in caplog.records] == ["the probe bank cannot be kept: Not a directory"]


def test_a_full_disk_costs_only_the_keeping_and_leaves_nothing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dgdd_cli.storage.kept_tensors.save_file", full)
    assert torch.equal(fill(Shares(), cache), EXPECTED)
    assert "the probe bank cannot be kept: No space left on device" in caplog.text
    assert list((cache.folder / "banks").iterdir()) == []


def test_an_interrupted_bank_keeps_what_it_had(cache: Cache) -> None:
    own = Shares()
    whole = own()

    def interrupted(index: int) -> torch.Tensor:
        if index == 3:
            raise KeyboardInterrupt
        return whole[1].compute(index)

    with pytest.raises(KeyboardInterrupt):
        fill_bank(Context(cache=cache), [whole[0], replace(whole[1], compute=interrupted)], range(5), WIDTH)
    own.computed.clear()
    assert torch.equal(fill(own, cache), EXPECTED)
    assert own.computed == [3, 4, 4]


RACE = """
import sys
import torch
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_probes_bank import EXPECTED, Shares, fill
from dgdd_cli.storage.cache import Cache
torch.set_num_threads(1)
for turn in range(30):
    assert torch.equal(fill(Shares(), Cache(Path(sys.argv[1]), limit=3000)), EXPECTED)
"""


def test_processes_share_a_bank_that_the_bound_does_not_hold(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path), str(Path(__file__).parent)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for worker in workers:
        _, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, err.decode()
        assert b"rebuilt" not in err


# What is computed of a source set.


def settings(**over: object) -> Probes:
    return Probes.model_validate({"width": 8, "augment": "color", "source": "bank:3"} | over)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A word for each time that images of the source set are seen for a bank."""
    calls: list[str] = []
    for name in ("subset_features", "image_features"):

        def see(*arguments, name=name, real=getattr(shares, name)):
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(shares, name, see)
    return calls


def probes_of(
    dataset: DomainDataset, cache: Cache | None = None, own: Probes | None = None, normalisation=NORM, **more
) -> list[Probe]:
    how = {"steps": 3} | {key: value for key, value in more.items() if key != "seed"}
    context = Context(more.get("seed", 0), cache=cache)
    at = probe_source(context, dataset, own or settings(), normalisation, **how)
    return [at(step) for step in range(3)]


def same(one: list[Probe], two: list[Probe]) -> bool:
    return all(
        torch.equal(a.cells, b.cells) and torch.equal(a.group_cells, b.group_cells)
        for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("samples", [0, 4])
def test_leaving_one_domain_out_in_turn_computes_each_domain_once(shapes, cache, seen, samples) -> None:
    dataset = shapes()
    found = {}
    for left_out in dataset.domain_names:
        sources = [name for name in dataset.domain_names if name != left_out]
        found[left_out] = probes_of(dataset.only(sources), cache, samples=samples)
    assert len(seen) == len(dataset.domain_names) * 3  # each domain through each probe
    assert len(list((cache.folder / "banks").iterdir())) == 9
    assert same(found["blue"], probes_of(dataset.only(["amber", "cyan"]), samples=samples))


def test_the_domains_do_not_depend_on_each_other_nor_on_their_order(shapes) -> None:
    dataset = shapes()
    for samples in (0, 4):
        whole = probes_of(dataset, samples=samples)
        two = probes_of(dataset.only(["cyan", "amber"]), samples=samples)
        for one, other in zip(whole, two, strict=True):
            assert torch.equal(other.cells, one.cells[:, [2, 0]])


def test_other_images_are_noticed_and_their_bank_is_kept_beside(shapes, cache, seen, caplog) -> None:
    dataset = shapes()
    images = dataset.images.clone()
    images[(dataset.domains == 1).nonzero()[0]] ^= 1
    other = replace(dataset, images=images)
    with caplog.at_level(logging.INFO, "dgdd"):
        first = probes_of(dataset, cache)
        assert not caplog.records
        changed = probes_of(other, cache)
        (said,) = caplog.records
        assert (
            said.getMessage() == "the probe bank of blue: what is kept is of other images, groups or software; rebuilt"
        )
        assert same(first, probes_of(dataset, cache))
        assert same(changed, probes_of(other, cache))
    assert not same(first, changed)
    assert len(seen) == 12


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"own": settings(width=9)},
        {"own": settings(augment="none")},
        {"own": settings(precision="bfloat16")},
        {"samples": 4},
        {"normalisation": replace(NORM, std=(0.3, 0.25, 0.25))},
    ],
)
def test_another_question_computes_a_bank_of_its_own(shapes, cache, seen, caplog, change) -> None:
    dataset = shapes()
    first = probes_of(dataset, cache)
    with caplog.at_level(logging.INFO, "dgdd"):
        probes_of(dataset, cache, **change)
        assert len(seen) == 18
        assert same(probes_of(dataset, cache), first)
    assert len(seen) == 18
    assert not caplog.records


def test_the_pixels_normalisation_is_of_the_key_and_never_of_the_target(shapes, cache, seen) -> None:
    from dgdd_cli.data.normalisation import normalisation_of

    dataset = replace(shapes(), normalisation=None)
    for sources in (["amber", "blue"], ["amber", "cyan"]):
        source = dataset.only(sources)
        own = normalisation_of(source)
        assert same(probes_of(source, cache, normalisation=own), probes_of(source, normalisation=own))
    assert len(list((cache.folder / "banks").iterdir())) == 12


@pytest.mark.parametrize("samples", [0, 4])
def test_parts_that_are_cells_are_no_share_of_their_own(shapes, cache, samples) -> None:
    dataset = shapes()
    cells = dataset.domains * 3 + dataset.labels  # in another order than the bank's
    for probe in probes_of(dataset, cache, samples=samples, group_cells=Partition(cells, 9)):
        assert torch.equal(probe.group_cells, probe.cells.transpose(0, 1).flatten(0, 1))
    assert len(list((cache.folder / "banks").iterdir())) == 9


@pytest.mark.parametrize("samples", [0, 4])
def test_other_parts_are_one_share_more(shapes, cache, seen, samples) -> None:
    dataset = shapes()
    partitions = [Partition(torch.arange(len(dataset)) % 5, 5), Partition(dataset.labels, 3)]
    for count, group_cells in zip((12, 15), partitions, strict=True):
        found = probes_of(dataset, cache, samples=samples, group_cells=group_cells)
        assert len(seen) == len(list((cache.folder / "banks").iterdir())) == count
        assert same(found, probes_of(dataset, cache, samples=samples, group_cells=group_cells))
        assert len(seen) == count
        features = image_features(found[0].view, dataset)
        for part in range(group_cells.count):
            own = features[group_cells.ids == part]
            if samples:
                assert torch.cdist(found[0].group_cells[part], own).min(1).values.max() < 1e-3
            else:
                torch.testing.assert_close(found[0].group_cells[part], own.mean(0))


def test_ranks_share_what_one_of_them_kept(shapes, cache, seen) -> None:
    from dgdd_cli.runtime.ranks import Ranks

    dataset = shapes()
    alone = probes_of(dataset, cache, settings(source="bank:6"), steps=6)
    context = Context(cache=cache, ranks=Ranks(1, 2))
    at = probe_source(context, dataset, settings(source="bank:6"), NORM, steps=3)
    assert len(at(0).cells) == len(alone[0].cells)
    assert len(seen) == 18
