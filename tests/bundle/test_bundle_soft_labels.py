"""A bundle with soft labels is a valid file; what reads one class for each image refuses it in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_bundles import facts_with, tensors_with

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.dataset import DistilledSet
from dgdd_cli.bundle.export import export_folder
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.errors import DataError


@pytest.fixture
def soft(tmp_path: Path) -> Path:
    path = tmp_path / "soft.safetensors"
    write_bundle(path, tensors_with(soft_labels=torch.full((4, 2), 0.5)), facts_with())
    return path


def test_they_can_be_read(soft: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert torch.equal(load_bundle(soft).soft_labels, torch.full((4, 2), 0.5))
    assert run(["inspect", str(soft), "--verify"]) == 0
    assert "soft_labels" in capsys.readouterr().out


@pytest.mark.parametrize("use", [DistilledSet, lambda path: export_folder(load_bundle(path), path.parent / "out")])
def test_what_gives_one_class_for_each_image_refuses_them(soft: Path, use) -> None:
    with pytest.raises(DataError, match=r"soft labels, which .+ would ignore") as caught:
        use(soft)
    assert "load_bundle" in caught.value.hint
    assert not (soft.parent / "out").exists()


def test_evaluate_refuses_them_before_it_looks_for_data(soft: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(soft), "--progress", "none"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "soft labels" in captured.err
    assert str(soft) in captured.err.replace("\n", "")


def test_inspect_writes_no_gallery_where_the_export_is_refused(soft: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery, out = soft.parent / "grid.png", soft.parent / "out"
    assert run(["inspect", str(soft), "--gallery", str(gallery), "--export", str(out)]) == 3
    assert "soft labels" in capsys.readouterr().err
    assert not gallery.exists()
    assert not out.exists()
