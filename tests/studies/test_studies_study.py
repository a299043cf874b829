"""A study: what it does once, what it does again, and whose folder it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dgdd_cli import study
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.errors import DgddError, Interrupted, UsageError
from dgdd_cli.storage.reserve import reserved
from dgdd_cli.studies import study as module

SMALL = {"ipc": 1, "image_size": 8, "repeats": 1, "epochs": 1, "evaluation": {"width": 4, "whole_epochs": 1}}
RECIPES = {"real": {"method": "balanced-random"}, "tiles": {"method": "balanced-random", "factor": 2}}


@pytest.fixture
def conduct(shapes_folder, tmp_path):
    def call(**over):
        keys = {"recipes": RECIPES, "targets": ["cyan", "blue"], "seeds": 2, "baselines": ["random"], **SMALL, **over}
        return study(shapes_folder, out=tmp_path / "study", cache_dir=tmp_path / "cache", **keys)

    return call


@pytest.fixture
def counted(monkeypatch):
    """How often it distils and evaluates."""
    calls = {"distill": 0, "evaluate": 0}
    for name in calls:
        at = getattr(module, name)

        def watched(*given, name=name, at=at, **keys):
            calls[name] += 1
            return at(*given, **keys)

        monkeypatch.setattr(module, name, watched)
    return calls


def test_every_cell_once_and_what_they_add_up_to(conduct, counted, tmp_path):
    done = conduct()
    assert counted == {"distill": 8, "evaluate": 4}
    assert done.failed == {}
    figures = done.document["figures"]["accuracy"]
    assert set(figures) == {"real", "tiles", "random"}
    assert all(len(values) == 2 for own in figures.values() for values in own.values())
    budgets = done.document["budgets"]
    assert budgets["tiles"]["training_images"] == [12, 12]
    assert budgets["tiles"]["stored_images"] == budgets["real"]["stored_images"] == [3, 3]
    (paired,) = [d for d in done.document["differences"]["accuracy"] if d["recipe"] == "tiles" and d["minus"] == "real"]
    gaps = [a - b for t in ("cyan", "blue") for a, b in zip(figures["tiles"][t], figures["real"][t], strict=True)]
    assert paired["mean"] == pytest.approx(sum(gaps) / 4)
    assert paired["pairs"] == 4
    folder = tmp_path / "study"
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(done.document))
    assert (folder / "results.md").read_text() == done.markdown
    assert "| tiles | 12 in 3 |" in done.markdown
    assert "| tiles − real |" in done.markdown
    assert "± is the 95 % interval" in done.markdown
    assert "not tuned" not in done.markdown  # there is no ceiling


def test_called_again_it_does_nothing_and_more_seeds_are_more_cells(conduct, counted):
    first = conduct()
    counted |= dict.fromkeys(counted, 0)
    assert conduct().document == first.document
    assert counted == {"distill": 0, "evaluate": 0}
    grown = conduct(seeds=3)
    assert counted == {"distill": 4, "evaluate": 2}
    kept = grown.document["figures"]["accuracy"]["real"]["cyan"][:2]
    assert kept == first.document["figures"]["accuracy"]["real"]["cyan"]


def test_only_what_failed_is_tried_again(conduct, monkeypatch):
    at = module.distill

    def fails(*given, **keys):
        if keys["target"] == "blue" and keys.get("factor"):
            raise DgddError("no room")
        return at(*given, **keys)

    monkeypatch.setattr(module, "distill", fails)
    partly = conduct()
    assert partly.failed == {("tiles", "blue", seed): "no room" for seed in (0, 1)}
    assert partly.document["figures"]["accuracy"]["tiles"]["blue"] == []
    assert not [d for d in partly.document["differences"]["accuracy"] if "tiles" in (d["recipe"], d["minus"])]
    assert "- tiles on blue, seed 0: no room" in partly.markdown
    done = []
    monkeypatch.setattr(module, "distill", lambda *given, **keys: (done.append(keys["target"]), at(*given, **keys))[1])
    assert conduct().failed == {}
    assert done == ["blue", "blue"]


def test_an_interrupted_study_goes_on_where_it_was(conduct, counted, monkeypatch):
    at = module.distill

    def interrupted(*given, **keys):
        if counted["distill"] == 3:
            raise Interrupted("interrupted")
        return at(*given, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(module, "distill", interrupted)
        with pytest.raises(Interrupted):
            conduct()
    assert counted["distill"] == 3
    conduct()
    assert counted["distill"] == 8


def test_damaged_cells_are_made_anew(conduct, counted, tmp_path, caplog):
    first = conduct()
    folder = tmp_path / "study"
    bundle = sorted(folder.glob("*.safetensors"))[0]
    bundle.write_bytes(bundle.read_bytes()[:-1])
    record = sorted(folder.glob("evaluation-*.json"))[0]
    record.write_text("{")
    counted |= dict.fromkeys(counted, 0)
    assert conduct().document == first.document
    assert counted == {"distill": 1, "evaluate": 1}
    assert load_bundle(bundle)
    assert "distilled again" in caplog.text
    assert "evaluated again" in caplog.text


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"ipc": 2}, "ipc was 1, now 2"),
        ({"epochs": 2}, "protocol.epochs was 1, now 2"),
        (
            {"recipes": RECIPES | {"tiles": {"method": "random", "factor": 2}}},
            "recipes.tiles.method was balanced-random",
        ),
        ({"baselines": []}, "baselines was"),
    ],
)
def test_a_folder_of_another_study_is_refused_with_what_differs(conduct, over, words):
    conduct()
    with pytest.raises(UsageError, match=words) as caught:
        conduct(**over)
    assert "out=" in (caught.value.hint or "")


def test_two_studies_at_once_in_one_folder(conduct, tmp_path):
    (tmp_path / "study").mkdir()
    with reserved(tmp_path / "study" / "study.json"), pytest.raises(UsageError, match="alive"):
        conduct()


def test_what_is_no_recipe(conduct):
    with pytest.raises(UsageError, match="'tiles' has the key 'target'"):
        conduct(recipes={"tiles": {"method": "random", "target": "cyan"}})
    with pytest.raises(UsageError, match="none is named"):
        conduct(recipes=[])
    with pytest.raises(DgddError):
        conduct(targets=["magenta"])


def test_a_share_of_the_progress_for_every_cell(conduct):
    heard = []
    conduct(progress=lambda stage, done, total, figures=None: heard.append((stage, done, total)))
    assert heard[0] == ("study", 0, 12)
    assert heard[-1] == ("study", 12, 12)


def test_a_ceiling_says_that_it_is_not_tuned(conduct):
    done = conduct(recipes=["random"], seeds=1, targets=["cyan"], baselines=["whole", "whole-balanced"])
    assert "The ceiling `whole` and `whole-balanced`: a fixed number of epochs, not tuned." in done.markdown
    assert done.document["budgets"]["whole"] == done.document["budgets"]["whole-balanced"]


def test_methods_by_name(conduct, tmp_path):
    done = conduct(recipes=["random", "balanced-random"], seeds=1, baselines=[])
    assert set(done.document["figures"]["accuracy"]) == {"random", "balanced-random"}
    assert done.document["differences"]["accuracy"][0]["interval"] is None
    assert len(list(Path(tmp_path / "study").glob("*.safetensors"))) == 4
