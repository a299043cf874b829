"""The baseline `random-jpeg`: real images in the bytes of a bundle."""

from __future__ import annotations

import io
import json

import pytest
import torch
from PIL import Image

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.evaluation.jpeg_images import LABEL, QUALITY, jpegs_within
from dgdd_cli.runtime.context import Context


def jpeg_of(image: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def test_as_many_images_as_fit_and_not_one_more(shapes):
    source = shapes(16)
    found = jpegs_within(Context(), source, 12_000, 0)
    sizes = [len(jpeg_of(source.images[row])) + LABEL for row in found.rows.tolist()]
    assert found.filled.tolist() == torch.tensor(sizes).cumsum(0).tolist()
    assert sum(sizes) <= 12_000
    more = jpegs_within(Context(), source, 13_000, 0).rows
    assert more[: len(found.rows)].tolist() == found.rows.tolist()  # a budget only ends the order
    next_one = jpegs_within(Context(), source, 10**9, 0).rows[len(found.rows)]
    assert sum(sizes) + len(jpeg_of(source.images[next_one])) + LABEL > 12_000


def test_classes_take_turns_and_in_each_its_domains(shapes):
    source = shapes(16)
    rows = jpegs_within(Context(), source, 12_000, 0).rows
    assert len(rows) > 12
    assert source.labels[rows].bincount().float().std() < 1
    assert source.labels[rows[:9]].tolist() == [0, 1, 2] * 3
    for c in range(3):
        assert sorted(source.domains[rows[:9]][source.labels[rows[:9]] == c].tolist()) == [0, 1, 2]


def test_what_is_trained_on_are_the_decoded_images(shapes):
    source = shapes(16)
    found = jpegs_within(Context(), source, 12_000, 1)
    with Image.open(io.BytesIO(jpeg_of(source.images[found.rows[0]]))) as image:
        wanted = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(16, 16, 3).permute(2, 0, 1)
    assert torch.equal(found.images[0], wanted)
    assert not torch.equal(found.images, source.images[found.rows])
    assert found.rows.tolist() != jpegs_within(Context(), source, 12_000, 0).rows.tolist()
    assert found.rows.tolist() == jpegs_within(Context(), source, 12_000, 1).rows.tolist()


@pytest.fixture
def bundle(shapes_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "b.safetensors"
    where = ["--target", "cyan", "--out", str(path), "--progress", "none", "--ipc", "4", "--image-size", "16"]
    assert run(["distill", str(shapes_folder), "--method", "balanced-random", *where]) == 0
    return path


def rows_of(capsys, folder, *bundles, more=()):
    small = ["--dataset", str(folder), "--repeats", "2", "--set", "width=4", "--set", "batch=4", "--progress", "none"]
    capsys.readouterr()
    assert run(["evaluate", *map(str, bundles), *small, "--baseline", "random,random-jpeg", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)["results"]


def test_it_has_the_bytes_of_the_bundle_and_its_steps(bundle, shapes_folder, capsys):
    own, random, jpeg = rows_of(capsys, shapes_folder, bundle)
    assert own["stored_bytes"] == random["stored_bytes"] == load_bundle(bundle).training_bytes
    assert 0.8 * own["stored_bytes"] < jpeg["stored_bytes"] <= own["stored_bytes"]
    assert jpeg["training_images"] == jpeg["stored_images"] > own["training_images"]
    assert jpeg["optimiser_steps"] == own["optimiser_steps"]
    assert jpeg["method"] == "random-jpeg"
    _, _, again = rows_of(capsys, shapes_folder, bundle)
    assert again["cached_repeats"] == 2
    assert again["accuracy"] == jpeg["accuracy"]
    _, _, literal = rows_of(capsys, shapes_folder, bundle, more=["--epochs", "2"])
    assert literal["optimiser_steps"] == 2 * -(-literal["training_images"] // 4)


def test_the_table_has_images_and_bytes_and_says_where_budgets_differ(bundle, shapes_folder, tmp_path, capsys):
    tiles = tmp_path / "t.safetensors"
    where = ["--target", "cyan", "--out", str(tiles), "--progress", "none", "--ipc", "2", "--image-size", "16"]
    assert run(["distill", str(shapes_folder), "--method", "random", "--factor", "2", *where]) == 0
    capsys.readouterr()
    small = [
        "--dataset",
        str(shapes_folder),
        "--repeats",
        "1",
        "--epochs",
        "1",
        "--set",
        "width=4",
        "--progress",
        "none",
    ]
    assert run(["evaluate", str(bundle), str(tiles), *small]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "budgets differ: 4,656 to 9,312 bytes" in said
    assert "24 in 6" in said
    assert "takes as many steps as its stored ones would" not in said  # epochs are literal
    assert run(["evaluate", str(tiles), *small, "--set", "pace=stored"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "takes as many steps as its stored ones would" in said
    assert "budgets differ" not in said


def test_bytes_that_hold_less_than_an_image_a_class_are_refused(shapes_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "b.safetensors"
    where = ["--target", "cyan", "--out", str(path), "--progress", "none", "--ipc", "1", "--image-size", "8"]
    assert run(["distill", str(shapes_folder), "--method", "random", *where]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(path), "--dataset", str(shapes_folder), "--baseline", "random-jpeg"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "hold 0 JPEGs, and there are 3 classes" in said or "hold 1 JPEG, and there are 3 classes" in said
    assert "--baseline" in said
