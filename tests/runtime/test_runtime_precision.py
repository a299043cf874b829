"""A run computes in the precision it names, from the first network to the last step; the process stays as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from torch.nn import functional as F

from dgdd_cli.augment import OPERATIONS, Draw
from dgdd_cli.config import Probes, Protocol, resolve
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.engine.distill import distill
from dgdd_cli.engine.identity import identify_run
from dgdd_cli.errors import UsageError
from dgdd_cli.evaluation.compare import compare
from dgdd_cli.evaluation.contestants import baseline_contestant
from dgdd_cli.groups.grouping import group_dataset
from dgdd_cli.methods.complete import complete
from dgdd_cli.probes.shares import shares_of
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.identity import differences
from dgdd_cli.runtime.precision import check_precision, computing_in
from dgdd_cli.runtime.software import arithmetic

CPU = torch.device("cpu")
NORM = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")


def switches() -> dict[str, str]:
    backends = torch.backends
    return {
        "convolutions": backends.cudnn.conv.fp32_precision,
        "products": backends.cuda.matmul.fp32_precision,
        "convolutions of a CPU": backends.mkldnn.conv.fp32_precision,
        "products of a CPU": backends.mkldnn.matmul.fp32_precision,
    }


def expected(precision: str) -> dict[str, str]:
    return dict.fromkeys(switches(), "ieee") | {"convolutions": "tf32" if precision == "tf32" else "ieee"}


@pytest.fixture
def everywhere(monkeypatch):
    """Every device says that it has TF32."""
    monkeypatch.setattr("dgdd_cli.runtime.precision.has_tf32", lambda device: True)


@pytest.fixture
def watched(monkeypatch):
    """The switches at every convolution and at every backward pass."""
    seen: list[dict[str, str]] = []
    for owner, name in ((F, "conv2d"), (torch.autograd, "grad"), (torch.Tensor, "backward")):

        def spy(*arguments, real=getattr(owner, name), **named):
            seen.append(switches())
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, spy)
    return seen


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("method", ["kmeans", "sgs", "dsa"])
def test_a_distillation_computes_in_its_precision(shapes, everywhere, watched, method, precision):
    settings = [f"probes.precision={precision}", "probes.width=4"]
    if method == "dsa" and precision == "bfloat16":
        pytest.skip("gradient matching has no bfloat16")
    if method != "kmeans":
        settings += ["optimiser.steps=2", "initialisation.name=kmeans"]
    recipe = complete(resolve({"dataset": "shapes", "method": method}, assignments=settings).recipe, "shapes")
    before = switches()
    distill(Context(seed=0), shapes(), recipe, ipc=1)
    assert len(watched) >= 3
    assert [place for place in watched if place != expected(precision)] == []
    assert switches() == before


def test_the_features_of_the_kmeans_baseline_are_in_float32(shapes, watched):
    """They are those of the method, whatever the trainings compute in."""
    source, protocol = shapes(), Protocol(precision="bfloat16")
    contestant = baseline_contestant(Context(), "kmeans", source, ipc=1, normalisation=NORM, protocol=protocol)
    contestant.draw(0)
    assert len(watched) >= 3
    assert [place for place in watched if place != expected("float32")] == []


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_an_evaluation_computes_in_its_precision(shapes, everywhere, watched, precision):
    source, before = shapes(), switches()
    protocol = Protocol(width=4, augment="rotate", epochs=1, precision=precision)
    contestant = baseline_contestant(
        Context(), "random", source, ipc=1, normalisation=source.normalisation, protocol=protocol
    )
    targets = {"cyan": source.only(["cyan"])}
    compare(Context(), [contestant], targets, networks=["convnet"], repeats=1, protocol=protocol)
    assert len(watched) >= 3
    assert [place for place in watched if place != expected(precision)] == []
    assert switches() == before


@contextmanager
def products_in_bfloat16():
    """What a caller may have set for the whole process, of which a run knows nothing."""
    place = torch.backends.mkldnn.matmul
    before, place.fp32_precision = place.fp32_precision, "bf16"
    try:
        yield
    finally:
        place.fp32_precision = before


def test_groups_are_found_in_float32(shapes, watched):
    with products_in_bfloat16():
        group_dataset(Context(), shapes(), groups=2, features="convnet")
    assert watched
    assert all(place == expected("float32") for place in watched)


def test_what_the_process_is_set_to_does_not_reach_in(shapes):
    """An autocast of the caller's, or products in bfloat16, would be another set under the name of float32."""
    recipe = complete(
        resolve({"dataset": "shapes", "method": "dm"}, assignments=["optimiser.steps=2"]).recipe, "shapes"
    )
    recipe = recipe.model_copy(update={"probes": recipe.probes.model_copy(update={"source": "bank:2", "width": 8})})
    plain = distill(Context(seed=0), shapes(), recipe, ipc=1).images
    with torch.autocast("cpu", torch.bfloat16), products_in_bfloat16():
        inside = distill(Context(seed=0), shapes(), recipe, ipc=1).images
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(plain, inside)


def test_a_failure_leaves_the_process_as_it_was(everywhere):
    before = switches()
    with pytest.raises(ZeroDivisionError), computing_in("tf32", CPU):
        1 / 0  # noqa: B018
    assert switches() == before


STATES = {
    "untouched": "",
    "convolutions by hand": "b.cudnn.conv.fp32_precision = 'tf32'",
    "products by hand": "b.cuda.matmul.fp32_precision = 'tf32'",
    "everything": "b.fp32_precision = 'tf32'",
    "the old flags": "b.cuda.matmul.allow_tf32 = True; b.cudnn.allow_tf32 = False",
    "the old setting": "torch.set_float32_matmul_precision('medium')",
}
PROCESS = """
import json, os, sys, torch, warnings
from dgdd_cli.runtime import precision
precision.has_tf32 = lambda device: True
b = torch.backends
places = (b.cudnn, b.cudnn.conv, b.cudnn.rnn, b.cuda.matmul, b.mkldnn.conv, b.mkldnn.matmul)
def found(old=False):
    flags = [b.cudnn.allow_tf32, b.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()] if old else []
    return [place.fp32_precision for place in places] + flags
for name, state in json.loads(sys.argv[1]).items():
    for entered in (False, True):
        if os.fork() == 0:  # the switches of a process cannot be made as new
            warnings.simplefilter("error")
            exec(state)
            old = "old" in name or not state
            told = [name, found(old)]
            if entered:
                for one in ("float32", "tf32", "bfloat16", "tf32"):
                    with precision.computing_in(one, torch.device("cpu")):
                        pass
            told.append(found(old))
            b.fp32_precision = "ieee"  # reaches every place that has no value of its own
            print(json.dumps([*told, found()]), flush=True)
            os._exit(0)
        os.wait()
"""


def test_the_switches_of_a_process_are_restored_with_what_they_inherit():
    """What is set afterwards for all places at once still reaches those that had no value of their own."""
    arguments = [sys.executable, "-c", PROCESS, json.dumps(STATES)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 2 * len(STATES)
    for alone, entered in zip(lines[::2], lines[1::2], strict=True):
        name, before, after, _ = entered
        assert before == after, name
        assert entered == alone


def test_tf32_is_refused_where_there_is_none():
    with pytest.raises(UsageError, match=r"'cpu' has no TF32, in which probes\.precision") as refused:
        check_precision("tf32", CPU, setting="probes.precision")
    assert "--set probes.precision=float32" in refused.value.hint
    check_precision("bfloat16", CPU, setting="precision")


def test_banks_know_the_precision_they_were_computed_in(shapes):
    def name(precision: str) -> str:
        settings = Probes(precision=precision, source="bank:2")
        how = {"group_cells": None, "samples": 0, "readout": "features"}
        return shares_of(Context(), shapes(), settings, NORM, lambda index: None, **how)[0].key(0).name

    assert len({name(precision) for precision in ("float32", "tf32", "bfloat16")}) == 3
    assert arithmetic(CPU, "float32") != arithmetic(CPU, "tf32")


def test_checkpoints_know_the_precision_they_were_computed_in():
    def identity(precision):
        run = resolve({"dataset": "digits"}, assignments=[f"probes.precision={precision}"])
        return identify_run(Context(), run, dataset="digits", fingerprint="f", groups=None)

    assert differences(identity("float32"), identity("bfloat16")) == ["probes.precision was float32, now bfloat16"]


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_augmentation_never_runs_under_autocast(operation, monkeypatch):
    """Not even where an operation multiplies matrices, which the operations of a CPU hardly do."""
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    augmentation = Draw(operation, torch.rand(4, 3, generator=torch.Generator().manual_seed(1)))
    plain, own, seen = augmentation(images), OPERATIONS[operation], []

    def watched(images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        seen.append((torch.is_autocast_enabled("cpu"), (torch.ones(2, 2) @ torch.ones(2, 2)).dtype))
        return own(images, rows)

    monkeypatch.setitem(OPERATIONS, operation, watched)
    with torch.autocast("cpu", torch.bfloat16):
        inside = augmentation(images)
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert seen == [(False, torch.float32)]
    assert inside.dtype == torch.float32
    assert torch.equal(inside, plain)
