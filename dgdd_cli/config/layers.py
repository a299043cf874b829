"""How the layers of a configuration merge: flag > file > recipe > default.

A recipe (`recipes/<method>.toml`) composes a method; a configuration file and `--set` change the same keys. The
resolved configuration prints as TOML that loads again.
"""

from __future__ import annotations

import codecs
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError

from dgdd_cli.config.recipe import Distillation, Recipe, Registered
from dgdd_cli.config.settings import Settings
from dgdd_cli.errors import DataError, UnknownName, UsageError
from dgdd_cli.text import typeable

S = TypeVar("S", bound=Settings)

# What to type when a value is wrong, for the keys that have a flag or an argument of their own.
HINTS = {
    "dataset": "dgdd distill digits",
    "ipc": "--ipc 10",
    "image_size": "--image-size 32",
    "seed": "--seed 0",
    "validation": "--validate 0.2",
    "codec": "--codec raw, png, or webp:75",
    "target": "--target DOMAIN, or --target none",
    "recipe.optimiser.steps": "--steps 200",
    "recipe.probes.source": "--probes bank:20, or --probes fresh",
    "epochs": "--epochs 100",
    "recipe.synthesis.factor": "--factor 2",
    "recipe.risk.name": "--risk cvar, or mean, cvar-within, mean-max, group-dro",
    "recipe.risk.tail": "--cvar-tail 0.5",
    "recipe.risk.groups": "--groups domain, or class-domain, kmeans:K, FILE",
}


# What stays of a table of a layer where one above it names something else: all other keys are settings of the former.
STAYS: dict[str, tuple[str, ...]] = {"risk": ("groups",), "synthesis": (), "labels": ()}

REGISTERED = tuple(name for name, info in Recipe.model_fields.items() if isinstance(info.default, Registered))
_IN_RECIPE = re.compile(rf"^\s*recipe\.(?=({'|'.join(Recipe.model_fields)})\b)")


def recipe_names() -> tuple[str, ...]:
    """The methods, by name."""
    folder = resources.files("dgdd_cli") / "recipes"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def recipe_text(method: str) -> str:
    """The recipe of a method as it is written, header included. Raises UnknownName."""
    if method not in recipe_names():
        raise UnknownName("method", method, recipe_names())
    return (resources.files("dgdd_cli") / "recipes" / f"{method}.toml").read_text(encoding="utf-8")


def read_toml(path: Path) -> dict[str, Any]:
    """A configuration file as a nested dictionary. Raises DataError (cannot be read) or UsageError (not TOML)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the configuration {path}: {error.strerror}") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        raise UsageError(
            f"{path} is not in UTF-8 but, it seems, in UTF-16",
            hint=f"iconv -f UTF-16 -t UTF-8 {typeable(path)} > utf8.toml",
        )
    try:
        return tomllib.loads(data.decode("utf-8-sig"))  # some editors begin with a mark, which TOML does not know
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not in UTF-8: {error.reason} at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """`["surgery.power=2", ...]` as a nested dictionary; values are TOML, bare words are strings.

    Raises UsageError when an assignment has no `=` or an empty key.
    """
    nested: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", key.strip()):
            raise UsageError(f"--set {assignment!r} is not key=value", hint="--set optimiser.steps=500")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        *tables, last = key.strip().split(".")
        place = nested
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise UsageError(
                    f"--set {assignment!r}: {table!r} was set to a value before", hint="give one of the two"
                )
        place[last] = value
    return nested


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` on top, table by table; None in `over` means: not given."""
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping):
            before = merged.get(key)
            merged[key] = merge(before if isinstance(before, Mapping) else {}, value)
        elif value is not None:
            merged[key] = value
    return merged


def validate(model: type[S], values: Mapping[str, Any], *, origin: str = "the configuration") -> S:
    """Values as a model. Raises UsageError that names the key, and a near match where a key is unknown."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UnknownName(f"key in {origin}", where, _keys(model)) from error
        given = f", got {first['input']!r}" if first["type"] != "missing" else ""
        hint = HINTS.get(where, f"--set {where.removeprefix('recipe.')}=VALUE")
        raise UsageError(f"{where} in {origin}: {first['msg'].lower()}{given}", hint=hint) from error


def _check_keys(assigned: Mapping[str, Any], prefix: str = "") -> None:
    """Raise UnknownName for a key of --set that no setting has, with the keys that were meant as --set takes them."""
    keys = [key.removeprefix("recipe.") for key in _keys(Distillation)]
    for name, value in assigned.items():
        key = prefix + name
        if key in REGISTERED and isinstance(value, Mapping):
            continue  # whoever is named knows the keys
        if isinstance(value, Mapping):
            _check_keys(value, f"{key}.")
        elif key not in keys and not any(known.startswith(f"{key}.") for known in keys):
            same = difflib.get_close_matches(name, {known.rpartition(".")[2] for known in keys}, n=2, cutoff=0.7)
            near = difflib.get_close_matches(key, keys, n=2, cutoff=0.7)
            meant = {known for known in keys if known.rpartition(".")[2] in same} | set(near)
            raise UnknownName("key of --set", key, meant or keys)


def _keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, info in model.model_fields.items():
        nested = [a for a in (info.annotation, *getattr(info.annotation, "__args__", ())) if _is_model(a)]
        keys += _keys(nested[0], f"{prefix}{name}.") if nested else [prefix + name]
    return keys


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def resolve(flags: Mapping[str, Any], *, file: Path | None = None, assignments: Iterable[str] = ()) -> Distillation:
    """Merge the layers into one run: flags and `--set` > configuration file > the method's recipe > defaults.

    A file is laid out as `print_config` prints it. Keys of `--set` name the recipe's tables (`surgery.power`), with or
    without `recipe.` before them.
    """
    given = read_toml(file) if file else {}
    if file and {"method", "recipe"} <= set(given) and flags.get("method") not in (None, given["method"]):
        raise UsageError(
            f"{file} is a configuration of the method {given['method']!r}, but {flags['method']!r} was asked for",
            hint="leave --method out, or take the [recipe] tables out of the file",
        )
    assigned = parse_assignments(_IN_RECIPE.sub("", assignment) for assignment in assignments)
    _check_keys(assigned)
    top = {key: assigned.pop(key) for key in list(assigned) if key in Distillation.model_fields and key != "recipe"}
    layered = merge(merge(given, flags), merge(top, {"recipe": assigned} if assigned else {}))
    method = str(layered.get("method", Distillation.model_fields["method"].default))
    recipe = tomllib.loads(recipe_text(method))
    over = merge(flags, merge(top, {"recipe": assigned} if assigned else {}))
    under = merge({"method": method, **_without_settings({"recipe": recipe}, layered)}, _without_settings(given, over))
    return validate(Distillation, merge(under, over))


def _without_settings(layer: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A layer without the settings of a risk, say, where a layer above asks for another one, which has its own."""
    if not isinstance(layer.get("recipe"), Mapping):
        return dict(layer)
    recipe = dict(layer["recipe"])
    for table, stays in STAYS.items():
        values, asked = recipe.get(table), _at(above, "recipe", table, "name")
        if isinstance(values, Mapping) and asked not in (None, values.get("name")):
            recipe[table] = {key: value for key, value in values.items() if key in stays}
    return {**layer, "recipe": recipe}


def _at(values: Any, *path: str) -> Any:
    """The value under a path of keys, None where there is none."""
    for key in path:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def to_toml(settings: Settings) -> str:
    """The settings as TOML that is itself a valid configuration file; keys without a value are left out."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))
