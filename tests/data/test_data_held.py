"""Copies of pixels on a device: as far as they fit, chunk by chunk, and the same images as on the host."""

from __future__ import annotations

import pytest
import torch

from dgdd_cli.data import held
from dgdd_cli.data.held import Held, resident, resident_bytes

META = torch.device("meta")
CPU = torch.device("cpu")
IMAGE = 3 * 8 * 8


def sets(*counts: int) -> list[Held]:
    generator = torch.Generator().manual_seed(0)
    return [Held(torch.randint(256, (n, 3, 8, 8), dtype=torch.uint8, generator=generator)) for n in counts]


def test_images_stay_on_the_device_as_far_as_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of what is free holds ten images: of 4, 9 and 5 the first and the last."""
    given = sets(4, 9, 5)
    monkeypatch.setattr(held, "free_memory_bytes", lambda device: 4 * 10 * IMAGE)
    found = resident(given, META)
    assert [isinstance(own, Held) for own in found] == [True, False, True]
    assert {own.at(torch.arange(2)).device.type for own in found} == {"meta"}
    assert {part.device.type for own in found for part in own.batches(2)} == {"meta"}
    assert resident_bytes([4 * IMAGE, 9 * IMAGE, 5 * IMAGE], META) == 9 * IMAGE
    assert resident(found[:1], META)[0] is found[0]  # what is there is not copied again


def test_on_the_cpu_nothing_is_copied() -> None:
    given = sets(4, 9)
    assert all(own is other for own, other in zip(resident(given, CPU), given, strict=True))
    assert resident_bytes([1000], CPU) == 0


def test_copied_in_chunks_or_sent_each_time_the_images_are_those_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    (given,) = sets(7)
    monkeypatch.setattr(held, "_CHUNK", 3 * IMAGE)
    rows = torch.tensor([6, 0, 0, 3])
    for own in (given, Held(held._copied(given, CPU)), held._Sent(given, CPU)):
        assert (len(own), own.image_size) == (7, 8)
        assert torch.equal(own.at(rows), given.images[rows])
        assert [len(part) for part in own.batches(3)] == [3, 3, 1]
        assert torch.equal(torch.cat(list(own.batches(3))), given.images)
        assert torch.equal(torch.cat(list(own.batches(3, rows))), given.images[rows])


@pytest.mark.parametrize(
    ("there", "wanted", "same"),
    [("cuda:1", "cuda", True), ("cuda:1", "cuda:1", True), ("cuda:1", "cuda:0", False), ("cpu", "cuda", False)],
)
def test_a_device_without_a_number_is_any_of_its_kind(there: str, wanted: str, same: bool) -> None:
    """What lies on cuda:0 is not copied again where `cuda` is asked for."""
    assert held._is(torch.device(there), torch.device(wanted)) == same


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("fits", [True, False])
def test_on_cuda_the_images_are_those_of_the_host(fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given, cuda = sets(7)[0], torch.device("cuda")
    if not fits:
        monkeypatch.setattr(held, "free_memory_bytes", lambda device: 0)
    (own,) = resident([given], cuda)
    rows = torch.tensor([6, 0, 0, 3], device=cuda)
    assert isinstance(own, Held) == fits
    assert own.at(rows).is_cuda
    assert torch.equal(own.at(rows).cpu(), given.images[rows.cpu()])
    assert torch.equal(torch.cat(list(own.batches(3))).cpu(), given.images)
