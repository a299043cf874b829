"""Trainings in lockstep give what each gives alone, and when they are chosen."""

from __future__ import annotations

import pytest
import torch

from dgdd_cli.config import Protocol
from dgdd_cli.evaluation.compare import compare
from dgdd_cli.evaluation.contestant import real_images
from dgdd_cli.evaluation.contestants import baseline_contestant
from dgdd_cli.evaluation.feed import Chance
from dgdd_cli.evaluation.metrics import accuracy
from dgdd_cli.evaluation.together import Repeats, choose_repeats, train_together
from dgdd_cli.evaluation.train import predict, train
from dgdd_cli.evaluation.trainers import TRAINERS
from dgdd_cli.networks import build
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import given

REPEATS = 3


def networks(name: str = "convnet"):
    return [
        build(name, num_classes=3, image_size=16, generator=torch.Generator().manual_seed(r), width=4)
        for r in range(REPEATS)
    ]


def chances():
    return [
        Chance(torch.Generator().manual_seed(50 + r), torch.Generator().manual_seed(90 + r)) for r in range(REPEATS)
    ]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("trainer", [name for name, trainer in TRAINERS.items() if trainer.alone is None])
def test_lockstep_is_each_training_alone(shapes, trainer, shared):
    """Batches of uneven sizes, every augmentation, the drop of the rate; sets of their own or one for all."""
    dataset = shapes(size=16, per_cell=3)
    protocol = Protocol(trainer=trainer, augment="color_crop_cutout_flip_scale_rotate", batch=12)
    sets = [real_images(dataset, torch.arange(len(dataset)).roll(0 if shared else r)) for r in range(REPEATS)]
    alone, together = networks(), networks()
    arguments = {"num_domains": 3, "epochs": 4}
    for network, own, chance in zip(alone, sets, chances(), strict=True):
        train(network, own, protocol, dataset.normalisation, chance, **arguments)
    ticks: list[int] = []
    train_together(together, sets, protocol, dataset.normalisation, chances(), **arguments, tick=ticks.append)
    assert ticks == [1, 2, 3, 4]
    for one, other, start in zip(alone, together, networks(), strict=True):
        for a, b, before in zip(one.parameters(), other.parameters(), start.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)
            assert not torch.equal(b, before)
        found = [predict(n, dataset, protocol, dataset.normalisation) for n in (one, other)]
        torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
        assert accuracy(found[0], dataset.labels) == accuracy(found[1], dataset.labels)


def test_lockstep_in_bfloat16_is_close(shapes):
    dataset, protocol = shapes(size=16, per_cell=2), Protocol(augment="crop", precision="bfloat16")
    training = real_images(dataset)
    alone, together = networks(), networks()
    for network, chance in zip(alone, chances(), strict=True):
        train(network, training, protocol, dataset.normalisation, chance, num_domains=3, epochs=2)
    train_together(together, [training] * REPEATS, protocol, dataset.normalisation, chances(), num_domains=3, epochs=2)
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0.05, atol=2e-3)


# How far the mean of the worst test losses may move after two epochs, relatively. In float32 only the order of sums
# differs: with convolutions in float64 it moves by 1e-7 on a CPU, and three decades are left to other algorithms
# (Winograd) and their growth. With factors rounded to the 10 bits of TF32, in both passes, it moves by 1.5e-3 (mixup
# 1.9e-3) over three seeds. A repeat that trains on another's images is off by 1.5e-3 to 0.13.
MOVES = {"float32": 1e-4, "tf32": 5e-3}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", MOVES)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_on_cuda_a_comparison_is_that_of_the_cpu(shapes, trainer, precision):
    """Few steps, so that rounding has no time to grow: together on CUDA where that is possible, alone on the CPU."""
    source = shapes(size=16)
    found = []
    for device, own in (("cpu", "float32"), ("cuda", precision)):
        protocol = Protocol(trainer=trainer, width=4, augment="color_crop", batch=8, epochs=2, precision=own)
        contestant = baseline_contestant(
            Context(), "balanced-random", source, ipc=6, normalisation=source.normalisation, protocol=protocol
        )
        (result,) = compare(
            Context(chosen=given(torch.device(device))),
            [contestant],
            {"cyan": source.only(["cyan"])},
            networks=["convnet"],
            repeats=3,
            protocol=protocol,
        )
        found.append([score.loss_cvar for score in result.scores])
    assert found[1] == pytest.approx(found[0], rel=MOVES[precision])


def test_networks_with_buffers_are_not_stacked(shapes):
    dataset = shapes(size=16)
    training = real_images(dataset)
    with pytest.raises(ValueError, match="buffers"):
        train_together(
            networks("resnet18"),
            [training] * REPEATS,
            Protocol(),
            dataset.normalisation,
            chances(),
            num_domains=3,
            epochs=1,
        )


@pytest.mark.parametrize(
    ("network", "trainer", "device", "repeats", "size", "mode", "why"),
    [
        ("convnet", "erm", "cuda", 5, 32, "together", "CUDA"),
        ("convnet", "mixstyle", "cuda", 5, 32, "together", "CUDA"),
        ("convnet", "erm", "cpu", 5, 32, "one by one", "cpu"),
        ("convnet", "erm", "cuda", 1, 32, "one by one", "one repeat"),
        ("convnet", "cvar", "cuda", 5, 32, "one by one", "sorts its losses"),
        ("resnet18", "erm", "cuda", 5, 32, "one by one", "batch normalisation"),
        ("convnet", "erm", "cuda", 5, 224, "one by one", "GiB at once"),
    ],
)
def test_when_trainings_run_together(network, trainer, device, repeats, size, mode, why):
    found = choose_repeats(network, Protocol(trainer=trainer), torch.device(device), repeats, image_size=size)
    assert found.mode == mode
    assert why in found.reason


def test_a_comparison_gives_the_same_scores_either_way(shapes, monkeypatch):
    source = shapes(size=16)
    protocol = Protocol(width=4, augment="color_crop", batch=8, epochs=3)
    contestant = baseline_contestant(
        Context(), "random", source, ipc=4, normalisation=source.normalisation, protocol=protocol
    )

    def scores():
        reached: list[int] = []
        (result,) = compare(
            Context(progress=lambda stage, done, total, figures=None: reached.append(done)),
            [contestant],
            {"cyan": source.only(["cyan"])},
            networks=["convnet"],
            repeats=3,
            protocol=protocol,
        )
        assert reached[-1] == 3 * 3 * 12
        return result.scores

    alone = scores()
    monkeypatch.setattr("dgdd_cli.evaluation.compare.choose_repeats", lambda *_, **__: Repeats("together", "asked for"))
    calls: list[int] = []

    def spy(networks, *arguments, **named):
        calls.append(len(networks))
        train_together(networks, *arguments, **named)

    monkeypatch.setattr("dgdd_cli.evaluation.trainings.train_together", spy)
    together = scores()
    assert calls == [3]
    assert [s.accuracy for s in alone] == [s.accuracy for s in together]
    assert [s.ece for s in alone] == pytest.approx([s.ece for s in together], abs=1e-3)
