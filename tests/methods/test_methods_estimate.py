"""What is said of a run before it starts, against what its tensors then take; and what is refused."""

import re
from dataclasses import replace

import pytest
import torch

from dgdd_cli.config import Optimiser, resolve
from dgdd_cli.engine.distill import distill
from dgdd_cli.errors import UsageError
from dgdd_cli.methods.complete import complete
from dgdd_cli.methods.estimate import bytes_needed, estimate_distill, require_room_to_distill
from dgdd_cli.methods.memory import Sizes, bank_bytes, sizes_of, tensor_peaks
from dgdd_cli.networks.footprint import peak_bytes
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.estimate import duration, in_words, require_room, sentence

CPU = torch.device("cpu")


def recipe_of(method, *, steps=2, **probes):
    found = complete(resolve({"dataset": "shapes", "method": method}).recipe, "shapes")
    table = found.probes.model_copy(update={"width": 16, "augment": "none", **probes})
    return found.model_copy(update={"probes": table, "optimiser": Optimiser(steps=steps)})


@pytest.mark.parametrize(
    ("method", "ipc", "probes"),
    [
        ("dm", 20, {"source": "bank:2"}),
        ("dm", 1, {"source": "bank:2"}),
        ("sgs", 20, {"source": "bank:2"}),
        ("dm", 2, {"source": "fresh"}),
        ("mmd", 10, {"source": "bank:1"}),
        ("dsa", 8, {"batch": 8}),
    ],
)
def test_the_memory_that_is_said_is_what_the_tensors_take(shapes, monkeypatch, method, ipc, probes):
    dataset, recipe = shapes(size=32, per_cell=24), recipe_of(method, **probes)
    sizes = sizes_of(dataset, ipc=ipc)
    said = max(tensor_peaks(recipe, sizes)) + bank_bytes(recipe, sizes)
    monkeypatch.setattr("dgdd_cli.engine.distill.announce", lambda *_, **__: None)  # times a pass of its own
    taken = peak_bytes(lambda: distill(Context(seed=0), dataset, recipe, ipc=ipc))
    assert said == pytest.approx(taken, rel=0.4)


def test_a_run_in_parts_takes_no_more_for_more_images():
    recipe = recipe_of("dm", width=64)
    looking, stepping = tensor_peaks(recipe, Sizes(400, 7, 3, 224, 1))
    assert looking < 2**30
    assert stepping < 2**30
    more = tensor_peaks(recipe, Sizes(40_000, 7, 3, 224, 50))
    assert more.looking - looking < 5 * 4 * 350 * 3 * 224**2  # the synthetic images alone
    assert more.stepping < 4 * 2**30


def free(monkeypatch, gib):
    for where in ("runtime.estimate", "methods.estimate"):
        monkeypatch.setattr(
            f"dgdd_cli.{where}.free_memory_bytes", lambda device: None if gib is None else int(gib * 2**30)
        )


def test_a_run_that_cannot_fit_is_refused_with_what_would(monkeypatch):
    recipe, sizes = recipe_of("dm", width=64, source="bank:2"), Sizes(420, 7, 3, 64, 40)
    free(monkeypatch, 1.25)
    with pytest.raises(UsageError, match=r"needs about \d\.\d GiB of memory, and 1\.2 GiB are free") as caught:
        require_room_to_distill(recipe, sizes, CPU)
    typed = caught.value.hint.removeprefix("what would fit: ").split(", or ")
    size, ipc, width = (int(re.split("[ =]", option)[-1]) for option in typed)
    assert [option.rstrip("0123456789") for option in typed] == ["--image-size ", "--ipc ", "--set probes.width="]
    require_room_to_distill(recipe, replace(sizes, image_size=size), CPU)
    require_room_to_distill(recipe, replace(sizes, ipc=ipc), CPU)
    require_room_to_distill(recipe_of("dm", width=width, source="bank:2"), sizes, CPU)
    free(monkeypatch, 0.01)
    with pytest.raises(UsageError, match="10 MiB are free") as caught:
        require_room_to_distill(recipe, sizes, CPU)
    assert "larger machine" in caught.value.hint
    for enough in (16, None):
        free(monkeypatch, enough)
        require_room_to_distill(recipe, sizes, CPU)


def test_a_run_is_refused_before_any_work_and_announced_otherwise(shapes, monkeypatch, caplog):
    caplog.set_level("INFO", logger="dgdd")
    recipe = recipe_of("sgs", source="bank:1")
    distill(Context(seed=0), shapes(), recipe, ipc=2)
    (note,) = caplog.messages
    assert note.startswith("about ")
    assert "2 steps of" in note
    assert "a bank of 1 probe in" in note
    free(monkeypatch, 1e-6)
    monkeypatch.setattr("dgdd_cli.networks.pace.build", lambda *_, **__: pytest.fail("it was timed"))
    monkeypatch.setattr(
        "dgdd_cli.methods.feature_matching.probe_source", lambda *_, **__: pytest.fail("a bank was begun")
    )
    with pytest.raises(UsageError, match="needs about"):
        distill(Context(seed=0), shapes(), recipe, ipc=2)


@pytest.mark.parametrize(("method", "steps"), [("random", None), ("dsa", 7), ("dm", 7)])
def test_time_is_said_for_methods_that_make_steps(method, steps):
    recipe = resolve({"dataset": "shapes", "method": method}).recipe
    if steps:
        recipe = recipe_of(method, steps=steps)
    found = estimate_distill(recipe, Sizes(40, 3, 2, 8, 2), CPU, done=3 if steps else 0)
    if steps is None:
        assert found is None
    else:
        assert found.work.startswith("4 steps of ")
        assert found.seconds > 0


def test_steps_and_probes_cost_what_they_are(monkeypatch):
    monkeypatch.setattr(
        "dgdd_cli.methods.estimate.seconds_an_image", lambda name, way, **_: 1.0 if way == "forward" else 3.0
    )
    sizes = Sizes(100, 5, 4, 8, 2)
    dm, sgs = (estimate_distill(recipe_of(m, steps=6, source="bank:3"), sizes, CPU) for m in ("dm", "sgs"))
    assert dm.seconds == 3 * 100 + 6 * 10 * 3
    assert sgs.seconds == 3 * 100 + 6 * 10 * (1 + 5 * 2)
    fresh = estimate_distill(recipe_of("dm", steps=6, source="fresh", batch=2), sizes, CPU)
    assert fresh.seconds == 6 * (10 * 3 + 40)
    shared = estimate_distill(recipe_of("dm", steps=6, source="bank:4"), sizes, CPU, ranks=2)
    assert shared.seconds == 2 * 100 + 6 * 10 * 3


def test_a_large_bank_goes_to_the_disk(monkeypatch):
    recipe, sizes = recipe_of("dm", source="bank:1000", width=64), Sizes(2000, 100, 4, 32, 1)
    free(monkeypatch, 100)
    whole = bytes_needed(recipe, sizes, CPU)
    free(monkeypatch, bank_bytes(recipe, sizes) * 1.5 / 2**30)
    assert whole - bytes_needed(recipe, sizes, CPU) == bank_bytes(recipe, sizes)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "1 s"), (42.3, "42 s"), (130, "2 min"), (5000, "83 min"), (7200, "2.0 h")]
)
def test_durations_in_words(seconds, said):
    assert duration(seconds) == said


def test_memory_in_words_and_whose_it_is():
    assert in_words(2**30) == "1.0 GiB"
    assert in_words(340 * 2**20) == "340 MiB"
    found = estimate_distill(recipe_of("dm"), Sizes(40, 3, 2, 8, 2), CPU)
    assert "of the device" in sentence(found, torch.device("cuda"))
    assert "of the device" not in sentence(found, CPU)
    require_room(1, CPU, [])
