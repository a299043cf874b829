"""Kept scores of baselines: used when they are right, never when they are not, and always exactly what was trained."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dgdd_cli.config import Protocol
from dgdd_cli.evaluation.compare import compare
from dgdd_cli.evaluation.contestants import baseline_contestant
from dgdd_cli.evaluation.groups import TargetGroups
from dgdd_cli.evaluation.score_cache import ScoreCache, common_choices, common_facts, target_facts
from dgdd_cli.evaluation.targets import Target
from dgdd_cli.runtime.context import Context
from dgdd_cli.storage.cache import Cache
from dgdd_cli.text import canonical_json

PROTOCOL = Protocol(width=4, augment="color", batch=8, epochs=1, whole_epochs=1)


class Call:
    """One comparison of the baseline `random`; what it trained, noted and warned of is kept."""

    def __init__(self, folder: Path, shapes, monkeypatch, caplog) -> None:
        caplog.set_level(logging.INFO, "dgdd")
        self.log = caplog
        self.folder, self.sets, self.patch = folder, shapes(per_cell=4), monkeypatch
        self.trained: list[int] = []

    def __call__(self, *, repeats=2, protocol=PROTOCOL, seed=0, method="random", ipc=2, images=None, **kept):
        import dgdd_cli.evaluation.trainings as trainings

        train = trainings.train

        def spy(*arguments, **named):
            self.trained.append(1)
            return train(*arguments, **named)

        sets = self.sets if images is None else replace(self.sets, images=images)
        target = sets.only(["cyan"])
        groups = TargetGroups("domain", ("cyan", "nowhere"), {"cyan": torch.zeros(len(target)).long()}, {})
        test = Target("cyan", target, target.domain_fingerprints()["cyan"])
        contestant = baseline_contestant(
            Context(seed=seed),
            method,
            sets.only(["amber", "blue"]),
            ipc=ipc,
            normalisation=sets.normalisation,
            protocol=protocol,
        )
        self.trained.clear()
        self.log.clear()
        with self.patch.context() as patched:
            patched.setattr(trainings, "train", spy)
            (result,) = compare(
                Context(seed),
                [contestant],
                {"cyan": target},
                networks=["convnet"],
                repeats=repeats,
                protocol=protocol,
                groups=groups.members,
                num_groups=2,
                kept=ScoreCache(
                    Cache(self.folder),
                    common_choices("shapes", 8, protocol, seed, "domain"),
                    common_facts("cpu") | kept.pop("facts", {}),
                    {"cyan": target_facts(test, groups)},
                    **kept,
                ),
            )
        assert result.cached + len(self.trained) == repeats
        return result

    @property
    def notes(self) -> list[str]:
        """What was said of the cache; the estimate, which every comparison begins with, is left out."""
        said = [record.getMessage() for record in self.log.records if record.levelno == logging.INFO]
        return [line for line in said if not line.startswith("about ")]

    @property
    def warnings(self) -> list[str]:
        return [record.getMessage() for record in self.log.records if record.levelno == logging.WARNING]

    def files(self) -> list[Path]:
        return sorted((self.folder / "scores").iterdir())


@pytest.fixture
def call(tmp_path, shapes, monkeypatch, caplog) -> Call:
    return Call(tmp_path, shapes, monkeypatch, caplog)


def same(a, b) -> bool:
    return all(
        (x.accuracy, x.ece, x.loss_cvar) == (y.accuracy, y.ece, y.loss_cvar)
        and torch.equal(x.per_class, y.per_class)
        and torch.equal(x.per_group.nan_to_num(7), y.per_group.nan_to_num(7))
        for x, y in zip(a.scores, b.scores, strict=True)
    )


def test_what_is_kept_is_what_was_trained(call):
    first = call()
    again = call()
    assert (first.cached, again.cached) == (0, 2)
    assert same(first, again)
    assert torch.isnan(again.scores[0].per_group[1])
    assert (call.notes, call.warnings) == ([], [])


def test_more_repeats_train_only_the_new_ones(call):
    first = call(repeats=2)
    more = call(repeats=4)
    assert more.cached == 2
    assert same(replace(more, scores=more.scores[:2]), first)
    assert same(call(repeats=4, retrain=True), more)
    assert call(repeats=1).cached == 1


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"ipc": 3},
        {"method": "balanced-random"},
        {"protocol": PROTOCOL.model_copy(update={"epochs": 2})},
        {"protocol": PROTOCOL.model_copy(update={"width": 5})},
        {"protocol": Protocol(**PROTOCOL.model_dump(exclude={"trainer", "mixup"}), trainer="mixup")},
        {"protocol": PROTOCOL.model_copy(update={"loss_tail": 0.3})},
    ],
)
def test_another_question_is_trained_and_disturbs_nothing(call, change):
    call()
    assert call(**change).cached == 0
    assert call.notes == []  # nothing was rebuilt: nobody had asked this before
    assert call().cached == 2
    assert call(**change).cached == 2


@pytest.mark.parametrize("change", ["test images", "source images", "device", "software"])
def test_other_data_or_software_is_trained_anew_and_said(call, change):
    call()
    images = call.sets.images.clone()
    images[(call.sets.domains == {"test images": 2, "source images": 0}.get(change, 3)).nonzero()[:1]] ^= 1
    facts = {"device": {"device": "cuda"}, "software": {"software": {"torch": "0"}}}.get(change, {})
    assert call(images=images, facts=facts).cached == 0
    assert len(call.notes) == 1
    assert "rebuilt" in call.notes[0]
    assert call(images=images, facts=facts).cached == 2
    assert call().cached == 2  # the earlier ones are kept beside
    assert call.notes == []


def test_scores_of_an_earlier_evaluator_are_not_used(call):
    """The first one could train a repeat on the images of another."""
    call(facts={"evaluator": 1})
    assert call().cached == 0
    assert "rebuilt" in call.notes[0]


def test_the_epochs_of_the_ceiling_do_not_concern_other_baselines(call):
    call()
    assert call(protocol=PROTOCOL.model_copy(update={"whole_epochs": 9})).cached == 2


def rewrite(path: Path, **changes) -> None:
    """Change a kept file and give it the sha256 of what it now says, as somebody who means harm would."""
    import hashlib

    document = json.loads(path.read_text())
    document["score"] |= changes
    body = {key: value for key, value in document.items() if key not in ("schema", "sha256")}
    document["sha256"] = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    path.write_text(json.dumps(document))


def damages() -> dict:
    return {
        "empty": lambda p: p.write_bytes(b""),
        "no text": lambda p: p.write_bytes(b"\xff\xfe"),
        "cut": lambda p: p.write_bytes(p.read_bytes()[:-20]),
        "a list": lambda p: p.write_text("[1]"),
        "nested": lambda p: p.write_text("[" * 100_000),
        "huge": lambda p: p.write_text(" " * 3_000_000),
        "a digit": lambda p: p.write_text(p.read_text().replace('"ece":0.', '"ece":0.0')),
        "NaN": lambda p: p.write_text(p.read_text().replace('"ece":', '"ece":NaN,"x":')),
        "unknown field": lambda p: rewrite(p, more=1),
        "above one": lambda p: rewrite(p, accuracy=1.5),
        "other accuracy": lambda p: rewrite(p, accuracy=0.123),
        "a class fewer": lambda p: rewrite(p, per_class=[0.5, 0.5]),
        "a class without accuracy": lambda p: rewrite(p, per_class=[0.5, 0.5, None]),
        "a group too many": lambda p: rewrite(p, per_group=[0.5, None, 0.5]),
        "text": lambda p: rewrite(p, loss_cvar="1.0"),
        "negative": lambda p: rewrite(p, loss_cvar=-1.0),
    }


@pytest.mark.parametrize("damage", damages())
def test_a_file_that_was_tampered_with_is_not_believed(call, damage):
    first = call(repeats=2)
    damages()[damage](call.files()[0])
    again = call(repeats=2)
    assert again.cached == 1
    assert same(first, again)
    assert len(call.warnings) == 1
    assert "rebuilt" in call.warnings[0]
    assert call(repeats=2).cached == 2  # it was written anew


def test_a_file_in_the_place_of_another_is_not_believed(call):
    call(repeats=2)
    first, second = call.files()
    first.write_bytes(second.read_bytes())
    assert call(repeats=2).cached == 1
    assert "made for something else" in call.warnings[0]


def test_a_folder_that_cannot_be_used_costs_nothing_but_time(call):
    (call.folder / "scores").write_text("a file where the folder should be")
    assert call().cached == 0
    assert "cannot be kept" in call.warnings[0]
    assert len(call.warnings) == 1


def test_an_interrupted_comparison_keeps_the_repeats_it_finished(call, monkeypatch):
    import dgdd_cli.evaluation.compare as module

    predict, count = module.predict, []

    def stop(*arguments):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return predict(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(module, "predict", stop)
        with pytest.raises(KeyboardInterrupt):
            call(repeats=4)
    assert call(repeats=4).cached == 2
