"""Pairing, baselines, and what a record says of hand-made scores."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch

from dgdd_cli.config import Protocol, resolve
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.engine.distill import initial_state
from dgdd_cli.evaluation.compare import Result, compare
from dgdd_cli.evaluation.contestant import Contestant, real_images
from dgdd_cli.evaluation.contestants import baseline_contestant, baseline_rows
from dgdd_cli.evaluation.metrics import Score
from dgdd_cli.evaluation.record import gate_failures, headline, record, summarise
from dgdd_cli.evaluation.targets import Target
from dgdd_cli.methods.complete import complete
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.seeds import stream

NORM = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
PROTOCOL = Protocol(width=8, augment="color", batch=8)


def contestant(name: str, dataset, sources=("amber",), kind="bundle") -> Contestant:
    return Contestant(
        name,
        name,
        kind,
        sources,
        NORM,
        2,
        len(dataset),
        len(dataset),
        0,
        len(dataset),
        lambda repeat: real_images(dataset),
    )


def scores(*accuracies: float) -> tuple[Score, ...]:
    return tuple(Score(a, torch.tensor([a, a / 2, 1.0]).double(), 0.1, 2.0, torch.empty(0)) for a in accuracies)


def recorded(entry: Contestant, dataset, values: tuple[Score, ...], name: str = "cyan", corruption=None) -> dict:
    target = Target(name, dataset, "the fingerprint", corruption)
    return record(Result(entry, "convnet", target.key, values, steps=2, weights="drawn"), target, tail=0.1)


def test_contestants_with_the_same_images_get_the_same_scores(shapes):
    dataset = shapes(per_cell=2)
    entries = [contestant("a", dataset), contestant("b", dataset)]
    first, second = compare(
        Context(),
        entries,
        {"cyan": dataset.only(["cyan"])},
        networks=["convnet"],
        repeats=2,
        protocol=PROTOCOL,
    )
    assert [s.accuracy for s in first.scores] == [s.accuracy for s in second.scores]
    assert [s.ece for s in first.scores] == [s.ece for s in second.scores]
    assert first.scores[0].ece != first.scores[1].ece  # another repeat is another network


def test_a_baseline_draws_other_images_for_every_repeat(shapes):
    source = shapes()
    for name in ("random", "balanced-random", "kmeans"):
        first, second, again = (
            baseline_rows(Context(), name, source, ipc=3, repeat=repeat).tolist() for repeat in (0, 1, 0)
        )
        assert first == again
        assert first != second


def test_the_balanced_baseline_is_balanced_and_the_random_one_is_not(shapes):
    source = shapes(per_cell=30)
    spread = {}
    for name in ("random", "balanced-random"):
        rows = [baseline_rows(Context(seed=s), name, source, ipc=6, repeat=0) for s in range(5)]
        counts = [torch.bincount(source.domains[r[:6]], minlength=3) for r in rows]  # of the first class
        spread[name] = max(int(c.max() - c.min()) for c in counts)
    assert spread["balanced-random"] == 0
    assert spread["random"] > 0


def test_kmeans_takes_one_image_of_each_cluster(shapes):
    """In these classes the colours of the domains are the clusters, which random images miss."""
    source = shapes(size=16, per_cell=5)
    met = {
        name: [
            len(set(source.domains[rows].tolist()))
            for repeat in range(3)
            for rows in baseline_rows(Context(), name, source, ipc=3, repeat=repeat).split(3)
        ]
        for name in ("kmeans", "random")
    }
    assert met["kmeans"] == [3] * 9
    assert min(met["random"]) < 3


def test_kmeans_is_the_method_of_that_name(shapes, monkeypatch):
    """With the network and the draws of `distill`, a repeat's images are those that `distill` selects."""
    source = shapes(size=16)
    recipe = complete(resolve({"dataset": source.name, "method": "kmeans"}).recipe, source.name)
    distilled = initial_state(Context(seed=4), source, recipe, ipc=2)
    monkeypatch.setattr(Context, "stream", lambda own, *names: stream(own.seed, "initialisation"))
    rows = baseline_rows(Context(seed=4), "kmeans", source, ipc=2, repeat=0)
    assert torch.equal((distilled.tensors["images"] * 255).round().byte(), source.images[rows])


def test_the_ceiling_has_epochs_of_its_own(shapes):
    source, protocol = shapes(), Protocol(epochs=70, whole_epochs=7)
    build = {"ipc": 2, "normalisation": NORM, "protocol": protocol}
    assert baseline_contestant(Context(), "whole", source, **build).epochs == 7
    assert baseline_contestant(Context(), "random", source, **build).epochs == 70
    assert baseline_contestant(Context(), "random", source, **build).images == 6
    assert baseline_contestant(Context(), "whole", source, **build).images == len(source)
    assert baseline_contestant(Context(), "whole", source, **build).draw(1).images is source


def test_a_record_averages_repeats_and_finds_the_worst(shapes):
    target = shapes(per_cell=4).only(["cyan"])
    entry = recorded(contestant("a", target), target, scores(0.9, 0.5, 0.4))
    assert entry["accuracy"]["mean"] == pytest.approx(0.6)
    assert entry["accuracy"]["std"] == pytest.approx(statistics.stdev([0.9, 0.5, 0.4]))
    assert entry["worst_class"] == {"class": "box", "images": 4, "accuracy": pytest.approx(0.3)}
    assert entry["setting"] == "unseen domain"
    one = recorded(contestant("a", target), target, scores(0.9))
    assert one["accuracy"]["std"] is None


def test_gates_look_at_the_mean_and_at_bundles_only(shapes):
    target = shapes().only(["cyan"])
    passing = recorded(contestant("a", target), target, scores(0.9, 0.5, 0.4))
    baseline = recorded(contestant("b", target, kind="baseline"), target, scores(0.1))
    assert gate_failures([passing, baseline], min_accuracy=0.6, max_gap=None) == []
    assert len(gate_failures([passing, baseline], min_accuracy=0.61, max_gap=None)) == 1


def test_a_summary_keeps_unseen_and_in_domain_apart(shapes):
    target = shapes().only(["cyan"])
    entries = [
        recorded(contestant("a", target), target, scores(value), name)
        for name, value in (("cyan", 0.4), ("blue", 0.6), ("amber", 0.9))
    ]
    (summary,) = summarise(entries)
    assert summary["mean_unseen"] == pytest.approx(0.5)
    assert summary["mean_in_domain"] == pytest.approx(0.9)
    assert summary["gap"] == pytest.approx(0.4)
    assert summary["worst_target"] == {"target": "cyan", "accuracy": pytest.approx(0.4)}
    assert gate_failures(entries, min_accuracy=None, max_gap=0.39)
    assert not gate_failures(entries, min_accuracy=None, max_gap=0.41)


def test_shifted_copies_count_nowhere(shapes):
    target = shapes().only(["cyan"])
    entry = contestant("a", target)
    clean = recorded(entry, target, scores(0.6))
    both = [clean, recorded(entry, target, scores(0.1), corruption="noise")]
    assert both[1]["corruption"] == "noise"
    assert both[1]["setting"] == "unseen domain"
    assert summarise(both) == summarise([clean])
    assert headline(both) == pytest.approx(0.6)
    assert gate_failures(both, min_accuracy=0.5, max_gap=None) == []


def test_in_domain_says_whether_the_images_are_those_it_was_made_from(shapes):
    target = shapes().only(["amber"])
    made, other = (
        replace(contestant("a", target), fingerprints={"amber": fingerprint})
        for fingerprint in ("the fingerprint", "another")
    )
    entries = [recorded(entry, target, scores(0.8), "amber") for entry in (made, other)]
    assert [e["setting"] for e in entries] == ["in-domain (images it was made from)", "in-domain (other images)"]
    assert recorded(contestant("a", target), target, scores(0.8), "amber")["setting"] == entries[0]["setting"]
    unseen = recorded(other, target, scores(0.5), "cyan")
    assert summarise([entries[1], unseen])[0]["gap"] == pytest.approx(0.3)
    assert not gate_failures([entries[1], unseen], min_accuracy=None, max_gap=0.31)
    assert gate_failures([entries[1], unseen], min_accuracy=None, max_gap=0.29)
    assert headline([entries[1], unseen]) == pytest.approx(0.5)


def test_the_headline_is_the_unseen_accuracy_even_when_it_is_zero(shapes):
    target = shapes().only(["cyan"])

    def entry(name: str, value: float, kind: str = "bundle"):
        return recorded(contestant("a", target, kind=kind), target, scores(value), name)

    unseen, seen, baseline = entry("cyan", 0.0), entry("amber", 0.9), entry("cyan", 0.7, "baseline")
    assert headline([unseen, seen, baseline]) == 0
    assert headline([unseen]) == 0
    assert headline([seen, baseline]) == pytest.approx(0.9)


def test_the_balanced_ceiling_has_every_image_and_every_cell_alike(shapes):
    """Cells of 4 to 12 images: the smaller ones repeat, and the steps are those of `whole`."""
    whole = shapes(per_cell=12)
    kept = torch.arange(len(whole)) % 12 < 4 * (1 + whole.domains)
    source = replace(whole, images=whole.images[kept], labels=whole.labels[kept], domains=whole.domains[kept])
    rows = baseline_rows(Context(), "whole-balanced", source, ipc=1, repeat=0)
    assert sorted(rows.unique().tolist()) == list(range(len(source)))
    cells = (source.labels * 3 + source.domains)[rows]
    assert cells.bincount().tolist() == [12] * 9
    build = {"ipc": 2, "normalisation": NORM, "protocol": Protocol(epochs=70, whole_epochs=7)}
    plain, balanced = (baseline_contestant(Context(), name, source, **build) for name in ("whole", "whole-balanced"))
    assert (plain.pace, plain.epochs, plain.images) == (balanced.pace, balanced.epochs, balanced.images)
    assert "all images, cells alike" in balanced.name
    found = compare(
        Context(), [balanced], {"cyan": source.only(["cyan"])}, networks=["convnet"], repeats=1, protocol=PROTOCOL
    )
    assert found[0].steps == balanced.epochs * -(-len(source) // PROTOCOL.batch)
