"""The house keeps its order: which room may import which, who may print, and what nobody may be called."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dgdd_cli"

# Rooms by floor; a room sees its own floor and those below, and what stands beside the stairs.
FLOORS = (
    {"cli"},
    {"studies"},
    {"api"},
    {"engine", "evaluation", "report"},
    {"methods", "groups", "bundle"},
    {"probes", "risk", "matching", "surgery", "synthesis"},
    {"networks", "augment", "data"},
    {"core", "storage", "runtime"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
BESIDE = {"errors", "progress", "text", "recipes", "__init__"}  # open to everybody
CONFIG_SEES = {"errors", "config"}
PRESENTATION = {"typer", "rich"}
NEVER = {"click"}
WITHOUT_TORCH = ("cli", "__init__", "__main__", "errors", "progress", "text", "config", "data.catalog")
PULL_TORCH = {"torch", "torchvision", "safetensors.torch"}


def modules() -> dict[str, str]:
    """Source by dotted name inside the package: `cli.app`, `errors`, `__init__`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def imports(source: str) -> list[tuple[str, bool]]:
    """Every imported module with whether it is loaded when the module itself is (not in a body or for types only)."""
    tree = ast.parse(source)
    late: set[ast.AST] = set()
    for node in ast.walk(tree):
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            late |= set(ast.walk(node))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node not in late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrow"
            assert node.module is not None
            found += [(f"{node.module}.{alias.name}", node not in late) for alias in node.names]
    return found


def complaints(name: str, source: str) -> list[str]:
    """What is wrong with a module, in words."""
    room, found = name.split(".")[0], []
    for target, early in imports(source):
        outside = target.split(".")[0]
        if outside == "dgdd_cli":
            found += _against_the_arrow(room, target)
        if outside in NEVER or (outside in PRESENTATION and room != "cli"):
            found.append(f"{name} imports {outside}")
        pulls = any(target == heavy or target.startswith(f"{heavy}.") for heavy in PULL_TORCH)
        if early and pulls and any(name == light or name.startswith(f"{light}.") for light in WITHOUT_TORCH):
            found.append(f"{name} imports {target} when it is loaded")
    if room not in ("cli", "__main__"):
        found += [f"{name} {what}" for what in _presumptions(source)]
    if not {"utils", "util", "helpers", "helper", "misc", "common"}.isdisjoint(name.split(".")):
        found.append(f"{name} says nothing about what it holds")
    return found


def _against_the_arrow(room: str, target: str) -> list[str]:
    other = target.split(".")[1] if "." in target else "__init__"
    if other not in FLOOR_OF and other not in BESIDE | {"config", "__main__"}:
        other = "__init__"  # a public name of the package itself
    said = [f"{room} imports {target}"]
    if room in ("__init__", "__main__") or other in BESIDE:
        return []
    if room in BESIDE:
        return said
    if room == "config":
        return said if other not in CONFIG_SEES else []
    if other == "config":
        return []
    return said if other == "__main__" or FLOOR_OF[other] < FLOOR_OF[room] else []


def _presumptions(source: str) -> list[str]:
    """Printing, reading the environment or the command line: the command line's business alone."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "input"):
            found.append(f"calls {node.func.id}()")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            what = f"{node.value.id}.{node.attr}"
            if what in ("os.environ", "os.getenv", "sys.argv", "sys.stdout", "sys.stderr", "sys.exit"):
                found.append(f"uses {what}")
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "sys", "argparse"):
            found += [f"imports {a.name}" for a in node.names if a.name in ("environ", "getenv", "argv", "exit")]
    return found


@pytest.mark.parametrize("name", modules())
def test_module_keeps_the_order(name: str) -> None:
    assert complaints(name, modules()[name]) == []


def test_every_room_has_its_floor() -> None:
    rooms = {name.split(".")[0] for name in modules()}
    assert rooms <= set(FLOOR_OF) | BESIDE | {"config", "__main__"}


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("core.cvar", "from dgdd_cli.matching import dm", "core imports dgdd_cli.matching.dm"),
        ("data.load", "import dgdd_cli.engine.loop", "data imports dgdd_cli.engine.loop"),
        ("data.load", "from dgdd_cli import engine", "data imports dgdd_cli.engine"),
        ("risk.kmeans", "def f():\n    from dgdd_cli.bundle import read", "risk imports dgdd_cli.bundle.read"),
        ("engine.loop", "from dgdd_cli.cli.output import Output", "engine imports dgdd_cli.cli.output.Output"),
        ("runtime.seeds", "from dgdd_cli.data import load", "runtime imports dgdd_cli.data.load"),
        ("config", "from dgdd_cli.data.catalog import CATALOG", "config imports dgdd_cli.data.catalog.CATALOG"),
        ("errors", "from dgdd_cli.data import load", "errors imports dgdd_cli.data.load"),
        ("engine.loop", "import rich.table", "engine.loop imports rich"),
        ("report.html", "from typer import echo", "report.html imports typer"),
        ("cli.app", "import click", "cli.app imports click"),
        ("cli.app", "import torch", "cli.app imports torch when it is loaded"),
        ("cli.app", "if True:\n    from torch import nn", "cli.app imports torch.nn when it is loaded"),
        ("data.catalog", "import torchvision.io", "data.catalog imports torchvision.io when it is loaded"),
        ("__init__", "from safetensors.torch import save", "__init__ imports safetensors.torch.save when it is loaded"),
        ("engine.loop", "def f():\n    print(1)", "engine.loop calls print()"),
        ("data.load", "import os\nx = os.environ.get('A')", "data.load uses os.environ"),
        ("data.load", "from os import getenv", "data.load imports getenv"),
        ("core.utils", "", "core.utils says nothing about what it holds"),
    ],
)
def test_a_breach_is_noticed(name: str, source: str, complaint: str) -> None:
    assert complaints(name, source) == [complaint]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cli.app", "def f():\n    import torch"),
        ("cli.app", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import Tensor"),
        ("cli.app", "from dgdd_cli.engine.loop import run\nimport rich"),
        ("engine.loop", "import torch\nfrom dgdd_cli.core import cvar\nfrom dgdd_cli.config import Recipe"),
        ("engine.loop", "from dgdd_cli.bundle.write import write_bundle\nfrom dgdd_cli import __version__"),
        ("data.load", "from dgdd_cli.config import Recipe\nfrom dgdd_cli.runtime.seeds import stream"),
        ("core.cvar", "from dgdd_cli.errors import DgddError\nfrom dgdd_cli.core.reference import cvar"),
    ],
)
def test_what_is_allowed_is_not_complained_of(name: str, source: str) -> None:
    assert complaints(name, source) == []
