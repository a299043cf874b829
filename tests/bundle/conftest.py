"""A small valid bundle on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_bundles import facts_with, tensors_with

from dgdd_cli.bundle.write import write_bundle


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    path = tmp_path / "toy.safetensors"
    write_bundle(path, tensors_with(), facts_with())
    return path
