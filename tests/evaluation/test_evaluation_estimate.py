"""What is said of an evaluation before it starts, against what its tensors then take; and what is refused."""

import logging
from functools import partial

import pytest
import torch

from dgdd_cli.config import Protocol
from dgdd_cli.errors import UsageError
from dgdd_cli.evaluation.compare import compare
from dgdd_cli.evaluation.contestants import baseline_contestant
from dgdd_cli.evaluation.estimate import Work, estimate_evaluation, evaluation_bytes, require_room_to_evaluate
from dgdd_cli.networks.footprint import peak_bytes
from dgdd_cli.runtime.context import Context

CPU = torch.device("cpu")


def comparison(dataset, protocol, *, network="convnet"):
    names = dataset.domain_names
    source = dataset.only(names[:2])
    contestant = baseline_contestant(
        Context(), "random", source, ipc=8, normalisation=source.normalisation, protocol=protocol
    )
    targets = {names[2]: dataset.only(names[2:])}
    return partial(
        compare,
        Context(),
        [contestant],
        targets,
        networks=[network],
        repeats=1,
        protocol=protocol,
    )


@pytest.mark.parametrize(
    ("network", "size", "trainer"),
    [*(("convnet", 32, trainer) for trainer in ("erm", "mixup", "mixstyle", "coral")), ("resnet18", 8, "erm")],
)
def test_the_memory_that_is_said_is_what_the_tensors_take(shapes, monkeypatch, network, size, trainer):
    monkeypatch.setattr("dgdd_cli.evaluation.estimate.seconds_an_image", lambda *_, **__: 0.0)  # a pass of its own
    dataset = shapes(size=size, per_cell=8)
    protocol = Protocol(width=16, batch=24, augment="none", epochs=1, trainer=trainer)
    taken = peak_bytes(comparison(dataset, protocol, network=network))
    monkeypatch.setattr("dgdd_cli.evaluation.estimate.in_use", lambda tensors, device: tensors)
    said = evaluation_bytes([Work(network, 1, 48, 24)], protocol, classes=3, image_size=size, tests=24, device=CPU)
    assert said == pytest.approx(taken, rel=0.4)


def test_the_memory_of_70_images_at_224_px_is_bounded():
    """On a CPU with the heap's holes, and 0.8 GiB for PyTorch itself, below 4 GiB."""
    form = {"classes": 7, "image_size": 224, "tests": 5000, "device": CPU}
    needed = evaluation_bytes([Work("convnet", 5, 7000, 70), Work("resnet18", 5, 7000, 70)], Protocol(), **form)
    assert needed < 3 * 2**30


def test_an_evaluation_that_cannot_fit_is_refused_with_what_would(monkeypatch):
    form = {"classes": 7, "image_size": 224, "tests": 500, "device": CPU}
    works = [Work("convnet", 5, 7000, 70)]
    monkeypatch.setattr("dgdd_cli.runtime.estimate.free_memory_bytes", lambda device: 3 * 2**29)
    with pytest.raises(UsageError, match=r"needs about .* GiB of memory, and 1\.5 GiB are free") as caught:
        require_room_to_evaluate(works, Protocol(), **form)
    batch, width = (int(caught.value.hint.split(f"--set {name}=")[1].split(",")[0]) for name in ("batch", "width"))
    require_room_to_evaluate(works, Protocol(batch=batch), **form)
    require_room_to_evaluate(works, Protocol(width=width), **form)


def test_a_comparison_says_what_it_takes_or_is_refused_before_it_trains(shapes, monkeypatch, caplog):
    run = comparison(shapes(), Protocol(width=4, augment="none", epochs=2))
    with caplog.at_level(logging.INFO, "dgdd"):
        run()
        (note,) = [record.getMessage() for record in caplog.records]
        assert note.startswith("about ")
        assert note.endswith("1 training on 24 images, each tested on 18 images")
        monkeypatch.setattr("dgdd_cli.runtime.estimate.free_memory_bytes", lambda device: 1000)
        monkeypatch.setattr("dgdd_cli.evaluation.compare.trainings", lambda *_, **__: pytest.fail("it trained"))
        with pytest.raises(UsageError, match="needs about"):
            run()
        assert len(caplog.records) == 1


def test_every_training_and_test_counts(monkeypatch):
    monkeypatch.setattr(
        "dgdd_cli.evaluation.estimate.seconds_an_image",
        lambda name, way, **_: {"weights": 3.0, "forward": 1.0}[way] * (10 if name == "resnet18" else 1),
    )
    works = [Work("convnet", 2, 100, 20), Work("resnet18", 1, 150, 30)]
    found = estimate_evaluation(works, Protocol(), classes=3, image_size=8, tests=7, device=CPU)
    assert found.seconds == 2 * (5 * 20 * 3 + 7) + (5 * 30 * 30 + 70)
    assert found.work == "3 trainings on 20 to 30 images, each tested on 7 images"
