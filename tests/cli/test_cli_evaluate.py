"""The verb `evaluate`, run in this process through the same entry as the console script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle

QUICK = ["--epochs", "2", "--set", "width=8", "--repeats", "2", "--progress", "none"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGDD_DATA", raising=False)


@pytest.fixture
def bundle(shapes_folder, tmp_path, capsys) -> Path:
    out = tmp_path / "b.safetensors"
    arguments = ["--target", "cyan", "--ipc", "2", "--image-size", "8", "--method", "balanced-random"]
    assert run(["distill", str(shapes_folder), *arguments, "--out", str(out), "-q"]) == 0
    capsys.readouterr()
    return out


def evaluate(bundle: Path, folder: Path, *more: str) -> int:
    return run(["evaluate", str(bundle), "--dataset", str(folder), *QUICK, *more])


def document_of(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_the_document_says_what_was_measured_and_how(bundle, shapes_folder, capsys):
    assert evaluate(bundle, shapes_folder, "--json", "--target", "cyan,blue") == 0
    document = document_of(capsys)
    assert document["schema"] == "dgdd.evaluate/1"
    assert document["protocol"]["epochs"] == 2
    assert document["protocol"]["selection"] == "last"
    unseen, seen = document["results"]
    assert (unseen["target"], unseen["setting"]) == ("cyan", "unseen domain")
    assert (seen["target"], seen["setting"]) == ("blue", "in-domain (images it was made from)")
    for result in (unseen, seen):
        assert len(result["accuracy"]["values"]) == 2
        assert result["accuracy"]["mean"] == pytest.approx(sum(result["accuracy"]["values"]) / 2)
        assert set(result["per_class"]) == {"bar", "box", "dot"}
        mean = sum(result["per_class"].values()) / 3
        assert mean == pytest.approx(result["accuracy"]["mean"])  # the classes are of one size
        assert result["worst_class"]["accuracy"] == min(result["per_class"].values())
        assert 0 <= result["ece"]["mean"] <= 1
    summary = document["summary"][0]
    assert summary["gap"] == pytest.approx(seen["accuracy"]["mean"] - unseen["accuracy"]["mean"])
    assert summary["worst_cell"]["accuracy"] <= summary["worst_target"]["accuracy"]


def test_the_same_call_gives_the_same_figures(bundle, shapes_folder, capsys):
    documents = []
    for seed in ("0", "0", "1"):
        assert evaluate(bundle, shapes_folder, "--json", "--seed", seed) == 0
        documents.append(document_of(capsys)["results"])
    assert documents[0] == documents[1]
    assert documents[0] != documents[2]


def test_networks_baselines_and_bundles_in_one_call(bundle, shapes_folder, capsys):
    copy = bundle.with_name("copy.safetensors")
    copy.write_bytes(bundle.read_bytes())
    arguments = ["--baseline", "random,balanced-random,whole", "--network", "convnet,resnet18", "--repeats", "1"]
    arguments += ["--set", "whole_epochs=2"]
    assert (
        run(
            [
                "evaluate",
                str(bundle),
                str(copy),
                str(bundle),
                "--dataset",
                str(shapes_folder),
                *QUICK,
                *arguments,
                "--json",
            ]
        )
        == 0
    )
    results = document_of(capsys)["results"]
    found = [(r["method"], r["network"]) for r in results]
    names = ["balanced-random", "balanced-random", "random", "balanced-random", "whole"]
    assert found == [(name, network) for name in names for network in ("convnet", "resnet18")]
    assert {r["training_images"] for r in results if r["method"] == "whole"} == {30}
    assert {r["training_images"] for r in results if r["kind"] == "baseline" and r["method"] != "whole"} == {6}


def test_the_baselines_of_the_first_paragraph_have_the_budget_of_the_bundle(bundle, shapes_folder, capsys, monkeypatch):
    """README offers `random,kmeans,whole`; a second call trains nothing and selects nothing."""
    arguments = ["--baseline", "random,kmeans,whole", "--set", "whole_epochs=1", "--json"]
    found = []
    for _ in range(2):
        assert evaluate(bundle, shapes_folder, *arguments) == 0
        found.append(document_of(capsys)["results"])
        monkeypatch.setattr("dgdd_cli.probes.centroid_rows.kmeans_rows", lambda *_: pytest.fail("selected again"))
    results = {result["method"]: result for result in found[0]}
    assert list(results) == ["balanced-random", "random", "kmeans", "whole"]
    own = results["balanced-random"]
    for name in ("random", "kmeans"):
        assert results[name]["kind"] == "baseline"
        assert results[name]["training_images"] == own["training_images"] == 6
        assert (results[name]["repeats"], results[name]["epochs"]) == (own["repeats"], own["epochs"])
    assert [result["cached_repeats"] for result in found[1]] == [0, 2, 2, 2]
    assert [result["accuracy"] for result in found[1]] == [result["accuracy"] for result in found[0]]


def test_a_new_trainer_is_named_where_trainers_are_and_nowhere_else(bundle, shapes_folder, capsys, monkeypatch):
    from dgdd_cli.evaluation.trainers import TRAINERS, Trainer

    def reversed_loss(network, batch, own, state, settings):
        return -torch.nn.functional.cross_entropy(network(batch.images), batch.labels.classes), state

    found = []
    monkeypatch.setitem(TRAINERS, "reversed", Trainer(reversed_loss))
    for name in ("erm", "reversed"):
        assert evaluate(bundle, shapes_folder, "--json", "--trainer", name, "--epochs", "8") == 0
        document = document_of(capsys)
        assert document["protocol"]["trainer"] == name
        found.append(document["results"][0]["loss_cvar"]["mean"])
    assert found[0] < found[1]


def test_people_see_a_table_with_the_protocol(bundle, shapes_folder, capsys):
    assert evaluate(bundle, shapes_folder) == 0
    said = capsys.readouterr().out
    for words in ("unseen domain", "±", "protocol dm: 2 epochs", "trainer erm", "last epoch", "worst class"):
        assert words in said


def test_one_is_counted_in_the_singular(bundle, shapes_folder, capsys):
    assert evaluate(bundle, shapes_folder, "--repeats", "1", "--epochs", "1") == 0
    said = capsys.readouterr().out
    assert "protocol dm: 1 epoch (" in said
    assert "over 1 training (" in said


def test_quiet_prints_the_number_alone(bundle, shapes_folder, capsys):
    assert evaluate(bundle, shapes_folder, "-q") == 0
    captured = capsys.readouterr()
    assert 0 <= float(captured.out) <= 1
    assert captured.err == ""


def test_quiet_averages_the_unseen_targets_alone(bundle, shapes_folder, capsys):
    assert evaluate(bundle, shapes_folder, "-q") == 0
    unseen = capsys.readouterr().out
    assert evaluate(bundle, shapes_folder, "-q", "--target", "cyan,amber,blue") == 0
    assert capsys.readouterr().out == unseen


def test_a_training_that_diverged_is_an_error_and_no_number(bundle, shapes_folder, capsys):
    arguments = ["--set", "rate=1e18", "--epochs", "9", "--min-accuracy", "0", "--json"]
    assert run(["evaluate", str(bundle), "--dataset", str(shapes_folder), *QUICK, *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "diverged" in captured.err
    assert "--set rate=" in captured.err


def test_bundles_of_different_targets_are_not_crossed_unasked(bundle, shapes_folder, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    arguments = ["--target", "blue", "--ipc", "2", "--image-size", "8", "--method", "random", "--out", str(other), "-q"]
    assert run(["distill", str(shapes_folder), *arguments]) == 0
    assert run(["evaluate", str(bundle), str(other), "--dataset", str(shapes_folder), *QUICK]) == 2
    assert "--target cyan,blue" in capsys.readouterr().err


def test_the_accuracy_gate(bundle, shapes_folder, capsys):
    assert evaluate(bundle, shapes_folder, "--min-accuracy", "0", "--json") == 0
    assert document_of(capsys)["gate_failures"] == []
    assert evaluate(bundle, shapes_folder, "--min-accuracy", "1", "--json") == 4
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["gate_failures"]) == 1  # the document comes all the same
    assert "below 1" in captured.err


def test_the_gap_gate_needs_both_kinds_of_target(bundle, shapes_folder, capsys):
    assert evaluate(bundle, shapes_folder, "--max-gap", "1", "--json") == 4
    assert "unknown" in document_of(capsys)["gate_failures"][0]
    assert evaluate(bundle, shapes_folder, "--max-gap", "1", "--target", "cyan,amber", "-q") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words", "hint"),
    [
        (["--target", "cyn"], 2, "cyn", "cyan"),
        (["--network", "resnet19"], 2, "resnet19", "resnet18"),
        (["--baseline", "radnom"], 2, "radnom", "random"),
        (["--baseline", "k-means"], 2, "k-means", "'kmeans'"),
        (["--set", "epoch=3"], 2, "epoch", "epochs"),
        (["--epochs", "0"], 2, "epochs", ""),
        (["--device", "cuda:9"], 2, "cuda:9", "--device cpu"),
        (["--groups", "domian"], 2, "domian", "--groups kmeans:10"),
        (["--groups", "kmeans:16"], 2, "15 images", "--groups kmeans:15 or fewer"),
        (["--corruptions", "noise,blurr"], 2, "blurr", "blur"),
        (["--set", "loss_tail=0"], 2, "loss_tail", "--set loss_tail="),
        (["--trainer", "gropdro"], 2, "unknown trainer", "groupdro"),
        (["--set", "cvar.tail=0.3"], 2, "belong to the trainer 'cvar', not to 'erm'", "--trainer cvar"),
        (["--trainer", "cvar", "--set", "cvar.tail=2"], 2, "cvar.tail", "--set cvar.tail="),
        (["--trainer", "mixstyle"], 2, "one block only", "--trainer erm"),
    ],
)
def test_what_a_user_can_get_wrong(bundle, shapes_folder, capsys, arguments, code, words, hint):
    assert evaluate(bundle, shapes_folder, *arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert words in captured.err
    assert hint in captured.err


@pytest.mark.parametrize(
    ("name", "setting"),
    [("groupdro", "rate=0.5"), ("cvar", "tail=0.25"), ("mixup", "alpha=0.3"), ("coral", "weight=50")],
)
def test_a_trainer_and_its_settings_are_used_and_recorded(bundle, shapes_folder, capsys, name, setting):
    documents = []
    for more in ([], ["--trainer", name], ["--trainer", name, "--set", f"{name}.{setting}"]):
        assert evaluate(bundle, shapes_folder, "--json", "--baseline", "balanced-random", "--epochs", "6", *more) == 0
        documents.append(document_of(capsys))
    figures = [[(r["accuracy"], r["ece"]) for r in document["results"]] for document in documents]
    assert figures[0] != figures[1] != figures[2]
    key, value = setting.split("=")
    assert documents[2]["protocol"]["trainer"] == name
    assert documents[2]["protocol"][name] == {key: float(value)}
    assert name not in documents[0]["protocol"]
    assert evaluate(bundle, shapes_folder, "--trainer", name, "--set", f"{name}.{setting}") == 0
    assert f"trainer {name} ({key} {float(value):g})" in capsys.readouterr().out


def test_a_trainer_over_domains_needs_domains(shapes_folder, tmp_path, capsys):
    """Three images, one of each class, drawn at random: with this seed from one domain."""
    for seed in range(20):
        out = tmp_path / f"{seed}.safetensors"
        arguments = ["--target", "cyan", "--ipc", "1", "--image-size", "8", "--method", "random", "--seed", str(seed)]
        assert run(["distill", str(shapes_folder), *arguments, "--out", str(out), "-q"]) == 0
        if len(load_bundle(out).domains.unique()) == 1:
            break
    capsys.readouterr()
    for name in ("coral", "groupdro"):
        assert evaluate(out, shapes_folder, "--trainer", name) == 2
        assert "come from one domain only" in capsys.readouterr().err


def test_groups_of_test_images(bundle, shapes_folder, capsys):
    arguments = ["--target", "cyan,blue", "--groups", "domain"]
    assert evaluate(bundle, shapes_folder, *arguments, "--json") == 0
    document = document_of(capsys)
    first, second = document["results"]
    assert first["groups"] == [
        {"group": "cyan", "images": 15, "accuracy": pytest.approx(first["accuracy"]["mean"]), "small": True}
    ]
    accuracies = [first["accuracy"]["mean"], second["accuracy"]["mean"]]
    assert document["summary"][0]["worst_group"]["accuracy"] == pytest.approx(min(accuracies))
    assert document["summary"][0]["adjusted_accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert evaluate(bundle, shapes_folder, *arguments) == 0
    shown = capsys.readouterr().out
    assert "mean of groups %" in shown
    assert "cyan (n=15, few)" in shown
    assert evaluate(bundle, shapes_folder) == 0
    assert "mean of groups" not in capsys.readouterr().out


def test_clusters_of_test_images_are_kept(bundle, shapes_folder, tmp_path, capsys):
    documents = []
    for word in ("made, and kept", "those kept"):
        assert evaluate(bundle, shapes_folder, "--groups", "kmeans:2", "--corruptions", "invert", "--json") == 0
        captured = capsys.readouterr()
        assert word in captured.err
        documents.append(json.loads(captured.out))
    assert documents[0] == documents[1]
    (path,) = (tmp_path / "cache" / "groups").iterdir()
    assert documents[0]["groups"] == {"spec": "kmeans:2", "files": {"cyan": str(path)}}
    clean, inverted = documents[0]["results"]
    assert [g["images"] for g in clean["groups"]] == [g["images"] for g in inverted["groups"]]
    assert clean["cluster_min"]["mean"] <= clean["worst_group"]["accuracy"]
    assert evaluate(bundle, shapes_folder, "--groups", "kmeans:2") == 0
    assert "cluster-min %" in capsys.readouterr().out


def test_a_groups_file_of_cluster(bundle, shapes_folder, tmp_path, capsys):
    path = tmp_path / "g.safetensors"
    common = ["--image-size", "8", "--groups", "2", "--per", "class", "--out", str(path), "-q"]
    assert run(["cluster", str(shapes_folder), "--domains", "cyan", *common]) == 0
    capsys.readouterr()
    assert evaluate(bundle, shapes_folder, "--groups", str(path), "--json") == 0
    (result,) = document_of(capsys)["results"]
    assert len(result["groups"]) == 6
    assert sum(g["images"] for g in result["groups"]) == result["test_images"]
    assert evaluate(bundle, shapes_folder, "--groups", str(path), "--target", "blue") == 3
    assert "made for the domains cyan, not blue" in capsys.readouterr().err


def test_shifted_copies_have_results_of_their_own(bundle, shapes_folder, capsys):
    assert evaluate(bundle, shapes_folder, "-q") == 0
    clean = capsys.readouterr().out
    arguments = ["--corruptions", "noise,blur,invert"]
    assert evaluate(bundle, shapes_folder, "-q", *arguments) == 0
    assert capsys.readouterr().out == clean
    assert evaluate(bundle, shapes_folder, "--json", *arguments) == 0
    results = document_of(capsys)["results"]
    assert [(r["target"], r["corruption"]) for r in results] == [("cyan", c) for c in (None, "noise", "blur", "invert")]
    assert len({json.dumps(r["ece"]) for r in results}) == 4
    assert evaluate(bundle, shapes_folder, *arguments) == 0
    assert "cyan (blur)" in capsys.readouterr().out


def test_another_copy_of_a_source_is_told_from_the_one_it_was_made_from(bundle, shapes_folder, capsys):
    image = next((shapes_folder / "blue" / "box").iterdir())
    image.unlink()
    assert evaluate(bundle, shapes_folder, "--target", "blue,amber", "--json") == 0
    settings = [r["setting"] for r in document_of(capsys)["results"]]
    assert settings == ["in-domain (other images)", "in-domain (images it was made from)"]


@pytest.mark.parametrize("groups", ["domain", "class-domain", "kmeans:2"])
def test_the_order_of_targets_trains_no_baseline_again(bundle, shapes_folder, capsys, groups):
    arguments = ["--baseline", "random", "--groups", groups, "--json"]
    found = []
    for targets in ("cyan,blue", "blue,cyan", "blue"):
        assert evaluate(bundle, shapes_folder, "--target", targets, *arguments) == 0
        results = {r["target"]: r for r in document_of(capsys)["results"] if r["method"] == "random"}
        found.append({name: (r["cached_repeats"], r | {"cached_repeats": None}) for name, r in results.items()})
    first, turned, alone = found
    assert [cached for each in found for cached, _ in each.values()] == [0, 0, 2, 2, 2]
    for name, (_, result) in first.items():
        assert turned[name][1] == result
    assert alone["blue"][1] == first["blue"][1]


def test_baselines_are_trained_once(bundle, shapes_folder, capsys):
    arguments = ["--baseline", "random,whole", "--set", "whole_epochs=1", "--groups", "class-domain", "--json"]
    documents = []
    for more in ([], [], ["--repeats", "3"], ["--retrain-baselines"]):
        assert evaluate(bundle, shapes_folder, *arguments, *more) == 0
        documents.append(document_of(capsys))
    cached = [[r.pop("cached_repeats") for r in document["results"]] for document in documents]
    assert cached == [[0, 0, 0], [0, 2, 2], [0, 2, 2], [0, 0, 0]]  # a bundle is trained every time
    assert documents[0] == documents[1] == documents[3]
    assert len(documents[2]["results"][1]["accuracy"]["values"]) == 3
    image = next((shapes_folder / "cyan" / "box").iterdir())
    image.unlink()
    assert evaluate(bundle, shapes_folder, *arguments) == 0
    captured = capsys.readouterr()
    assert [r["cached_repeats"] for r in json.loads(captured.out)["results"]] == [0, 0, 0]
    assert captured.err.count("rebuilt") == 2


def test_the_document_says_how_the_repeats_were_trained(bundle, shapes_folder, capsys):
    assert evaluate(bundle, shapes_folder, "--network", "convnet,resnet18", "--epochs", "1", "--json") == 0
    repeats = document_of(capsys)["device"]["repeats"]
    assert {name: how["mode"] for name, how in repeats.items()} == dict.fromkeys(("convnet", "resnet18"), "one by one")
    assert "batch normalisation" in repeats["resnet18"]["reason"]


def test_another_dataset_is_refused(bundle, capsys):
    assert run(["evaluate", str(bundle), "--dataset", "digits", "--target", "scan", *QUICK]) == 3
    assert "other classes" in capsys.readouterr().err


def test_a_folder_set_must_be_named(bundle, capsys):
    assert run(["evaluate", str(bundle), *QUICK]) in (2, 3)
    assert "--dataset" in capsys.readouterr().err


def test_a_class_that_the_target_lacks(bundle, shapes_folder, capsys):
    for image in (shapes_folder / "cyan" / "box").iterdir():
        image.unlink()
    assert evaluate(bundle, shapes_folder) == 3
    captured = capsys.readouterr()
    assert "box" in captured.err
    assert "--allow-missing-classes" in captured.err
    assert evaluate(bundle, shapes_folder, "--allow-missing-classes", "--json") == 0
    assert set(document_of(capsys)["results"][0]["per_class"]) == {"bar", "dot"}


def test_a_class_of_few_images_counts_as_much_in_the_balanced_accuracy(bundle, shapes_folder, capsys):
    for image in sorted((shapes_folder / "cyan" / "box").iterdir())[1:]:
        image.unlink()
    for image in sorted((shapes_folder / "cyan" / "bar").iterdir())[2:]:
        image.unlink()
    assert evaluate(bundle, shapes_folder, "--json", "--target", "cyan") == 0
    (result,) = document_of(capsys)["results"]
    shares = result["per_class"]
    images = {cell["class"]: cell["images"] for cell in result["cells"]}
    assert sorted(images.values()) == [1, 2, 5]
    assert result["balanced_accuracy"]["mean"] == pytest.approx(sum(shares.values()) / 3)
    assert len(result["balanced_accuracy"]["values"]) == 2
    assert result["accuracy"]["mean"] == pytest.approx(sum(images[name] * shares[name] for name in shares) / 8)


def test_a_bundle_that_is_none(tmp_path, capsys):
    fake = tmp_path / "fake.safetensors"
    fake.write_bytes(b"no bundle")
    assert run(["evaluate", str(fake)]) == 3
    assert run(["evaluate", str(tmp_path / "absent.safetensors")]) == 3
    assert "Traceback" not in capsys.readouterr().err


def outline(value: object) -> object:
    """A document with what the arithmetic or the machine decides replaced by its type."""
    if isinstance(value, dict):
        return {key: outline(inner) for key, inner in value.items() if key != "device"}
    if isinstance(value, list):
        return [outline(inner) for inner in value]
    return "number" if isinstance(value, float) else value


def test_the_document_has_the_published_form(bundle, shapes_folder, capsys):
    assert evaluate(bundle, shapes_folder, "--json", "--target", "cyan,blue", "--baseline", "random") == 0
    document = outline(document_of(capsys))
    for result in document["results"]:
        result["worst_class"]["class"] = "some class"
        result["name"] = Path(result["name"]).name
        result["bundle_id"] = result["bundle_id"] and "an id"
    for summary in document["summary"]:
        summary["name"] = Path(summary["name"]).name
        summary["worst_target"]["target"] = "some target"
        summary["worst_cell"] |= {"class": "some class", "domain": "some domain"}
    golden = Path(__file__).with_name("golden_evaluate.json")
    assert document == json.loads(golden.read_text(encoding="utf-8"))
