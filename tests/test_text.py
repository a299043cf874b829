"""Counts in sentences, and paths in hints."""

from __future__ import annotations

import os
import subprocess

import pytest

from dgdd_cli.text import plural, typeable


@pytest.mark.parametrize(
    ("count", "nouns", "said"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (12_345, ("image",), "12,345 images"),
        (1, ("class", "classes"), "1 class"),
        (3, ("class", "classes"), "3 classes"),
        (1, ("group has", "groups have"), "1 group has"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, nouns: tuple[str, ...], said: str) -> None:
    assert plural(count, *nouns) == said


@pytest.mark.parametrize(
    "name",
    [
        "plain.safetensors",
        "a b",
        "-dash",
        "it's",
        "$(rm x)",
        "a\nhint: b\x1b[2J",
        "back\\slash\n'",
        "\udce9",
        "é\u202e1",
    ],
)
def test_a_path_can_be_typed_in_a_shell(tmp_path, name):
    (tmp_path / name).write_text("")
    typed = typeable(name)
    assert typed.isprintable()
    said = subprocess.run(["bash", "-c", f"ls -A {typed}"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert said.removeprefix(b"./") == os.fsencode(name) + b"\n"
