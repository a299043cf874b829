"""What a training asks of its device: no wait, and one copy of an epoch's numbers for each kind of number."""

from __future__ import annotations

import itertools
from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dgdd_cli.evaluation.compare as compare_module
from dgdd_cli.augment import OPERATIONS, draw
from dgdd_cli.config import Protocol
from dgdd_cli.data.held import Held, resident
from dgdd_cli.evaluation.contestant import real_images
from dgdd_cli.evaluation.contestants import baseline_contestant
from dgdd_cli.evaluation.feed import Chance, epoch, parts, pool_of, send
from dgdd_cli.evaluation.together import train_together
from dgdd_cli.evaluation.train import predict, train
from dgdd_cli.evaluation.trainers import TRAINERS
from dgdd_cli.networks import build
from dgdd_cli.runtime.context import Context

EVERY = "_".join(name for name in OPERATIONS if name != "identity")
META = torch.device("meta")  # holds no values: whatever reads one back raises


class Moves(TorchDispatchMode):
    """Counts what goes from the CPU to the other device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and isinstance(args[0], torch.Tensor):
            self.count += (args[0].device.type, found.device.type) == ("cpu", "meta")
        return found


def network(seed: int = 0):
    return build("convnet", num_classes=3, image_size=16, generator=torch.Generator().manual_seed(seed), width=4)


def chances(count: int) -> list[Chance]:
    return [Chance(torch.Generator().manual_seed(r), torch.Generator().manual_seed(90 + r)) for r in range(count)]


def run(trainer: str, repeats: int, dataset, device: torch.device, *, batch: int, epochs: int, tick=None) -> None:
    """Train alone, or several together, on the device."""
    protocol = Protocol(trainer=trainer, augment=EVERY, batch=batch)
    own = real_images(dataset).to(device)
    given = {"num_domains": 3, "epochs": epochs, "tick": tick}
    networks = [network(r).to(device) for r in range(repeats)]
    if repeats == 1:
        train(networks[0], own, protocol, dataset.normalisation, chances(1)[0], **given)
    else:
        train_together(networks, [own], protocol, dataset.normalisation, chances(repeats), of=[0] * repeats, **given)


def cases() -> list[tuple[str, int]]:
    return [(name, r) for name, trainer in TRAINERS.items() for r in (1, 3) if r == 1 or trainer.alone is None]


@pytest.mark.parametrize(("trainer", "repeats"), cases())
def test_a_training_reads_nothing_back_and_moves_its_numbers_once_an_epoch(shapes, trainer, repeats, monkeypatch):
    """However many batches an epoch has and however many trainings share it."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **named: nullcontext())  # which knows no such device
    dataset, counts = shapes(size=16, per_cell=2), []
    for batch in (1000, 6):
        with Moves() as moves:
            at: list[int] = []
            run(trainer, repeats, dataset, META, batch=batch, epochs=3, tick=lambda _, m=moves, a=at: a.append(m.count))
        counts.append([later - sooner for sooner, later in itertools.pairwise(at)])
    assert counts[0] == counts[1]
    assert max(counts[0]) <= 3  # whole numbers, fractions, yes or no


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("trainer", "repeats"), cases())
def test_on_cuda_no_epoch_waits_for_the_device(shapes, trainer, repeats):
    """The first epoch warms up; those after it, with the drop of the rate, run where any synchronisation raises."""
    try:
        run(
            trainer,
            repeats,
            shapes(size=16),
            torch.device("cuda"),
            batch=16,
            epochs=4,
            tick=lambda done: torch.cuda.set_sync_debug_mode("error" if done < 4 else "default"),
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_a_test_reads_its_probabilities_back_once(shapes, monkeypatch):
    """Images of the device or of the CPU: nothing but the last copy waits."""
    dataset, protocol, own = shapes(size=16), Protocol(), network().to("cuda")
    monkeypatch.setattr("dgdd_cli.networks.footprint.MOST", 16)
    for images in (dataset, *resident([dataset], torch.device("cuda"))):
        expected = predict(own, images, protocol, dataset.normalisation)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with pytest.warns(UserWarning, match="synchronizing") as waits:
                found = predict(own, images, protocol, dataset.normalisation)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert len(waits) == 1
        assert torch.equal(found, expected)


@pytest.mark.parametrize("augment", ["none", "color", EVERY])
def test_each_training_sees_what_its_own_numbers_say(shapes, augment):
    """Several trainings, two of them on one set: batch by batch what one training alone draws, to the last bit."""
    dataset, protocol = shapes(size=16, per_cell=4), Protocol(trainer="mixup", augment=augment, batch=10)
    sets = [real_images(dataset), real_images(dataset, torch.arange(36).flip(0))]
    of, settings = [0, 1, 1, 0], TRAINERS["mixup"].settings()
    pool = pool_of(sets, of, dataset.normalisation)
    batches = list(epoch(pool, protocol, chances(len(of))))
    assert [batch.domains.shape[1] for batch in batches] == [10, 10, 10, 6]
    for r, chance in enumerate(chances(len(of))):
        own = sets[of[r]]
        order = torch.randperm(36, generator=chance.batches)
        for batch, rows in zip(batches, parts(order, 10), strict=True):
            pixels = (own.images.at(rows).float() / 255 - 0.5) / 0.25
            images = draw(augment, chance.batches, rows=len(rows))(pixels)
            torch.testing.assert_close(batch.images[r], images, rtol=0, atol=1e-6)
            assert torch.equal(batch.labels.classes[r], own.labels.classes[rows])
            assert torch.equal(batch.domains[r], own.domains[rows])
            draws = TRAINERS["mixup"].draw(len(rows), settings, chance.trainer)
            assert all(torch.equal(a[r], b) for a, b in zip(batch.draws, draws, strict=True))


def test_what_is_sent_arrives_in_its_shape_and_kind():
    tensors = [torch.rand(3, 2), torch.arange(4), torch.tensor(True), torch.rand(()), torch.empty(0)]
    assert all(a is b for a, b in zip(send(tensors, torch.device("cpu")), tensors, strict=True))
    for own, moved in zip(tensors, send(tensors, META), strict=True):
        assert (moved.shape, moved.dtype, moved.device.type) == (own.shape, own.dtype, "meta")


def test_a_comparison_moves_its_test_images_once(shapes, monkeypatch):
    """However many repeats look at them."""
    source, seen = shapes(size=16), []
    predict = compare_module.predict
    monkeypatch.setattr(compare_module, "resident", lambda sets, device: [Held(own.images.clone()) for own in sets])
    monkeypatch.setattr(compare_module, "predict", lambda n, own, *more: (seen.append(own), predict(n, own, *more))[1])
    protocol = Protocol(width=2, augment="none", epochs=1)
    contestant = baseline_contestant(
        Context(), "random", source, ipc=1, normalisation=source.normalisation, protocol=protocol
    )
    targets = {name: source.only([name]) for name in ("amber", "cyan")}
    compare_module.compare(
        Context(),
        [contestant],
        targets,
        networks=["convnet"],
        repeats=3,
        protocol=protocol,
    )
    assert len(seen) == 6
    assert len({own.images.data_ptr() for own in seen}) == 2
    assert torch.equal(seen[0].images, targets["amber"].images)
