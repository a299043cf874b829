"""The documents of `distill` and `cluster` have the published form; the others stand by their own tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run

# What the arithmetic, the machine or the folder of the test decides.
FREE = {"id", "fingerprint", "bundle", "groups_file", "device", "peak_memory_bytes"}


def outline(value: object) -> object:
    """A document with every number that is not whole, and everything in FREE, replaced by its type."""
    if isinstance(value, dict):
        return {key: type(inner).__name__ if key in FREE else outline(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [outline(inner) for inner in value]
    return "number" if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        (
            "distill",
            ["--target", "cyan", "--ipc", "2", "--steps", "2", "--probes", "bank:1", "--set", "probes.width=8"],
        ),
        ("cluster", ["--groups", "3"]),
    ],
)
def test_the_document_has_the_published_form(shapes_folder, tmp_path, monkeypatch, capsys, verb, arguments):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    common = ["--image-size", "8", "--out", str(tmp_path / "out.safetensors"), "--json", "--progress", "none"]
    assert run([verb, str(shapes_folder), *arguments, *common]) == 0
    document = outline(json.loads(capsys.readouterr().out))
    golden = Path(__file__).with_name(f"golden_{verb}.json")
    assert document == json.loads(golden.read_text(encoding="utf-8"))
