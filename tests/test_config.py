import re
import tomllib

import pytest

from dgdd_cli.config import (
    Protocol,
    Recipe,
    merge,
    parse_assignments,
    recipe_names,
    recipe_text,
    resolve,
    to_toml,
    validate,
)
from dgdd_cli.errors import DataError, UnknownName, UsageError
from dgdd_cli.methods.complete import complete


@pytest.mark.parametrize("method", recipe_names())
def test_every_recipe_is_valid_and_says_where_it_comes_from(method):
    text = recipe_text(method)
    assert text.startswith("# ")
    validate(Recipe, tomllib.loads(text))
    assert resolve({"dataset": "digits", "method": method}).method == method


def test_the_methods_of_the_first_release_are_there():
    assert {"random", "balanced-random", "kmeans", "dm", "dm-balanced", "sgs"} <= set(recipe_names())


def test_dm_and_dm_balanced_differ_in_the_weights_alone():
    dm, balanced = (tomllib.loads(recipe_text(name)) for name in ("dm", "dm-balanced"))
    assert dm["matching"].pop("weights") == "share"
    assert balanced["matching"].pop("weights") == "equal"
    assert dm == balanced


def test_sgs_is_dm_balanced_with_surgery():
    sgs, balanced = (tomllib.loads(recipe_text(name)) for name in ("sgs", "dm-balanced"))
    assert sgs.pop("surgery")["name"] == "spectral"
    assert sgs == balanced


def test_layers_flag_over_file_over_recipe_over_default(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('dataset = "pacs"\nipc = 3\nseed = 4\n[recipe.optimiser]\nsteps = 7\nmomentum = 0.25\n')
    run = resolve({"ipc": 5}, file=file, assignments=["optimiser.momentum=0.75"])
    assert (run.dataset, run.ipc, run.seed, run.image_size) == ("pacs", 5, 4, 32)
    assert run.recipe.optimiser.steps == 7
    assert run.recipe.optimiser.momentum == 0.75
    assert run.recipe.surgery.pool == "class"


@pytest.mark.parametrize("method", recipe_names())
@pytest.mark.parametrize("risk", [None, "mean", "cvar", "mean-max", "group-dro"])
def test_a_completed_configuration_loads_and_completes_as_itself(tmp_path, method, risk):
    selects = method in ("random", "balanced-random", "kmeans")
    if risk and selects:
        pytest.skip("it has no losses")
    run = resolve(
        {"dataset": "digits", "method": method, "recipe": {"risk": {"name": risk}} if risk else {}},
        assignments=["risk.groups=domain"] if risk else [],
    )
    run = run.model_copy(update={"recipe": complete(run.recipe, "digits")})
    file = tmp_path / "run.toml"
    file.write_text(to_toml(run))
    again = resolve({}, file=file)
    assert again == run
    assert complete(again.recipe, "digits") == run.recipe


def test_the_printed_configuration_loads_as_itself(tmp_path):
    run = resolve({"dataset": "digits", "target": "scan"}, assignments=["surgery.power=2", "probes.augment=crop"])
    file = tmp_path / "run.toml"
    file.write_text(to_toml(run))
    assert resolve({}, file=file) == run


def test_assignments_are_toml_or_words():
    assert parse_assignments(["a.b=1", "a.c=true", 'd="x"', "e=share"]) == {
        "a": {"b": 1, "c": True},
        "d": "x",
        "e": "share",
    }


@pytest.mark.parametrize("text", ["steps", "=3", "a..b=1", "A=1", "a b=2"])
def test_a_malformed_assignment_is_refused(text):
    with pytest.raises(UsageError, match="key=value"):
        parse_assignments([text])


def test_a_table_cannot_be_a_value_too():
    with pytest.raises(UsageError, match="optimiser"):
        parse_assignments(["optimiser=3", "optimiser.steps=5"])


def test_a_wrong_value_says_what_to_type():
    with pytest.raises(UsageError) as caught:
        resolve({"dataset": "digits", "ipc": 0})
    assert caught.value.hint == "--ipc 10"


def test_merge_keeps_what_is_not_given():
    assert merge({"a": 1, "t": {"x": 1, "y": 2}}, {"a": None, "t": {"y": 3}}) == {"a": 1, "t": {"x": 1, "y": 3}}


def test_an_unknown_key_names_the_near_one():
    with pytest.raises(UnknownName) as caught:
        resolve({"dataset": "digits"}, assignments=["surgery.divresity=2"])
    assert caught.value.hint == "did you mean 'surgery.diversity'?"


def test_an_unknown_method_names_the_near_one():
    with pytest.raises(UnknownName) as caught:
        resolve({"dataset": "digits", "method": "sgd"})
    assert "sgs" in caught.value.hint


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"ipc": 0}, "ipc"),
        ({"image_size": 4}, "image_size"),
        ({"seed": -1}, "seed"),
        ({"recipe": {"probes": {"source": "bank:0"}}}, "probes.source"),
        ({"recipe": {"optimiser": {"image_rate": float("inf")}}}, "image_rate"),
        ({"recipe": {"optimiser": {"steps": -5}}}, "steps"),
    ],
)
def test_a_value_out_of_range_is_a_usage_error_that_names_the_key(flags, words):
    with pytest.raises(UsageError, match=words):
        resolve({"dataset": "digits", **flags})


def test_a_file_of_another_method_is_not_mixed_in(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(to_toml(resolve({"dataset": "digits", "method": "dm"})))
    with pytest.raises(UsageError, match="'dm'"):
        resolve({"method": "sgs"}, file=file)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        resolve({"dataset": "digits"}, file=tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("ipc = = 3")
    with pytest.raises(UsageError, match="not valid TOML"):
        resolve({"dataset": "digits"}, file=broken)


@pytest.mark.parametrize(
    ("assignment", "meant"),
    [
        ("steps=5", ["optimiser.steps"]),
        ("recipe.steps=5", ["optimiser.steps"]),
        ("surgery.divresity=2", ["surgery.diversity"]),
        ("optimizer.steps=5", ["optimiser.steps"]),
        ("width=3", ["probes.width"]),
        ("sead=3", ["seed"]),
    ],
)
def test_a_suggested_key_can_be_typed(assignment, meant):
    with pytest.raises(UnknownName) as caught:
        resolve({"dataset": "digits"}, assignments=[assignment])
    suggested = re.findall(r"'([^']+)'", caught.value.hint)
    assert set(meant) <= set(suggested)
    for key in suggested:
        for prefix in ("", "recipe.") if "." in key else ("",):
            with pytest.raises(UsageError) as wrong:  # the key is known: it is the value that is not
                resolve({"dataset": "digits"}, assignments=[f"{prefix}{key}={{}}"])
            assert not isinstance(wrong.value, UnknownName), key


def test_the_prefix_of_a_printed_key_is_taken_in_order():
    run = resolve({"dataset": "digits"}, assignments=["optimiser.steps=5", "recipe.optimiser.steps=6", "seed=3"])
    assert (run.recipe.optimiser.steps, run.seed) == (6, 3)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    run = resolve({"dataset": "digits", "seed": 3})
    file = tmp_path / "run.toml"
    file.write_text(to_toml(run), encoding="utf-8-sig")
    assert resolve({}, file=file) == run


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_refused_with_the_way_to_utf_8(tmp_path, encoding):
    file = tmp_path / "my run.toml"
    file.write_text(to_toml(resolve({"dataset": "digits"})), encoding=encoding)
    with pytest.raises(UsageError, match="UTF-16") as caught:
        resolve({}, file=file)
    assert caught.value.hint == f"iconv -f UTF-16 -t UTF-8 '{file}' > utf8.toml"


def test_a_file_in_latin_1_is_refused_as_such(tmp_path):
    file = tmp_path / "run.toml"
    file.write_bytes("dataset = 'é'".encode("latin-1"))
    with pytest.raises(UsageError, match="is not in UTF-8"):
        resolve({}, file=file)


def test_the_protocol_refuses_what_it_does_not_know():
    with pytest.raises(UnknownName) as caught:
        validate(Protocol, {"epoch": 3}, origin="the protocol")
    assert "epochs" in caught.value.hint


@pytest.mark.parametrize("table", ["synthesis", "labels"])
def test_what_is_registered_has_settings_of_its_own(table, tmp_path):
    """They go with the name: what is named elsewhere has others."""
    asked = [f"{table}.name=mine", f"recipe.{table}.depth=4", f'{table}.over=["a", "b"]']
    found = resolve({"dataset": "digits"}, assignments=asked)
    assert getattr(found.recipe, table).settings == {"depth": 4, "over": ["a", "b"]}
    file = tmp_path / "run.toml"
    file.write_text(to_toml(found))
    assert resolve({}, file=file) == found
    assert getattr(resolve({}, file=file, assignments=[f"{table}.depth=5"]).recipe, table).settings["depth"] == 5
    other = resolve({}, file=file, assignments=[f"{table}.name=yours"])
    assert getattr(other.recipe, table).settings == {}


@pytest.mark.parametrize("text", ["recipe = 3", "[recipe]\nlabels = 3", "[recipe]\nlabels.name = 3"])
def test_a_file_whose_tables_are_none_is_refused(text, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match="recipe"):
        resolve({"dataset": "digits"}, file=file)


@pytest.mark.parametrize("value", ["inf", "nan", "[nan]", "2026-01-01"])
def test_a_setting_that_no_manifest_can_hold_is_refused_at_once(value):
    with pytest.raises(UsageError, match="labels"):
        resolve({"dataset": "digits"}, assignments=["labels.name=mine", f"labels.depth={value}"])
