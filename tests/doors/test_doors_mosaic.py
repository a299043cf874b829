"""Parameterisations from outside the package: one file each (doors_mosaic.py, doors_palette.py) and one entry."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doors_mosaic import Mosaic, mosaic
from doors_palette import Palette
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from dgdd_cli import DistilledSet, load_bundle
from dgdd_cli.__main__ import run
from dgdd_cli.bundle.manifest import BundleFacts, identify
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.errors import DataError, UnknownName, UsageError
from dgdd_cli.report.gallery import gallery
from dgdd_cli.storage.container import read_container, tensor_sha256, write_container
from dgdd_cli.storage.layout import TensorRule
from dgdd_cli.synthesis.parameterisation import PARAMETERISATIONS, parameterisation
from dgdd_cli.synthesis.pixels import to_bytes, to_unit

CLASSES, DOMAINS, SIZE, FACTOR = ("bar", "box"), ("photo", "sketch"), 16, 2
SHA = "0" * 64
FACTS: dict[str, Any] = {
    "normalise": {"mean": [0.5] * 3, "std": [0.5] * 3, "origin": "sources"},
    "classes": CLASSES,
    "domains": DOMAINS,
    "target": None,
    "method": {"name": "mine", "settings": {}},
    "seed": 0,
    "steps": 0,
    "software": {},
    "device": {"type": "cpu", "name": "any"},
    "source": {
        "dataset": "toy",
        "fingerprint": SHA,
        "domain_fingerprints": {},
        "licence": "CC0",
        "citation": "nobody, 2026",
        "counts": {},
    },
}
REAL = torch.rand(16, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))  # 4 stored images' worth of tiles
LABELS, OF_DOMAINS = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, -1])


@pytest.fixture(autouse=True)
def _entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARAMETERISATIONS, "mosaic", mosaic)
    monkeypatch.setitem(PARAMETERISATIONS, "palette", lambda settings, size: Palette(size))


def written(path: Path, **more: Tensor) -> Path:
    found = Mosaic(FACTOR, SIZE)
    facts = BundleFacts.model_validate(FACTS | {"synthesis": {"name": "mosaic", "factor": FACTOR}})
    stored = found.store(found.encode(REAL))
    write_bundle(path, {**stored, "labels": LABELS, "domains": OF_DOMAINS, **more}, facts)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "tiles.safetensors")


def test_a_bundle_of_tiles_holds_four_training_images_in_each_stored_one(path: Path) -> None:
    bundle = load_bundle(path)
    found = Mosaic(FACTOR, SIZE)
    wanted, owners = found.decode({"images": to_unit(bundle.tensors["images"])})
    assert len(bundle) == 4
    assert bundle.images.shape == (16, 3, SIZE, SIZE)
    assert torch.equal(bundle.images, to_bytes(wanted))
    assert torch.equal(bundle.owners, owners)
    images, labels, domains = bundle.labelled()
    assert torch.equal(labels.classes, LABELS[owners])
    assert torch.equal(domains, OF_DOMAINS[owners])
    assert torch.equal(images, bundle.images)
    # what a tile shows is the mean colour of the image that it was made of, in the same order
    torch.testing.assert_close(to_unit(images).mean((2, 3)), REAL.mean((2, 3)), atol=0.03, rtol=0)


def test_a_distilled_set_of_4n_images(path: Path) -> None:
    distilled, bundle = DistilledSet(path), load_bundle(path)
    assert len(distilled) == 16
    assert distilled.targets == [0] * 8 + [1] * 8
    assert distilled.domain_targets == [0] * 4 + [1] * 8 + [-1] * 4
    image, label = distilled[13]
    assert torch.equal(to_bytes(image), bundle.images[13])
    assert label == 1


def test_exports_and_galleries_show_what_it_decodes_to(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bundle = tmp_path / "out", load_bundle(path)
    assert run(["inspect", str(path), "--verify", "--export", str(out), "--gallery", str(tmp_path / "g.png")]) == 0
    assert "mosaic (factor 2): 4 stored decode to 16 training images" in " ".join(capsys.readouterr().out.split())
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(16))
    for row in rows:
        pixels = np.asarray(Image.open(out / row["file_name"]))
        assert np.array_equal(pixels, bundle.images[row["index"]].permute(1, 2, 0).numpy())
    card = (out / "README.md").read_text()
    assert "| images | 16, 8 per class, 16 x 16 pixels |" in card
    assert "what its stored images decode to" in card
    drawn = np.asarray(gallery(bundle))
    one = np.asarray(
        Image.fromarray(bundle.images[0].permute(1, 2, 0).numpy()).resize((96, 96), Image.Resampling.NEAREST)
    )
    corners = np.argwhere((drawn[:-95, :-95] == one[0, 0]).all(2))
    assert any((drawn[y : y + 96, x : x + 96] == one).all() for y, x in corners)


def test_a_parameterisation_may_store_no_images(tmp_path: Path) -> None:
    path, found = tmp_path / "palette.safetensors", Palette(SIZE)
    real = (REAL[:4] * 3).round() / 3  # 64 colours
    tensors = {**found.store(found.encode(real)), "labels": LABELS, "domains": OF_DOMAINS}
    facts = BundleFacts.model_validate(FACTS | {"synthesis": {"name": "palette"}})
    with pytest.raises(DataError, match="images must be"):
        write_bundle(path, tensors, facts)
    manifest = write_bundle(path, tensors, facts, image_size=SIZE)
    assert set(manifest.hashes) == {"colours", "indices", "labels", "domains"}
    assert torch.equal(load_bundle(path).images, to_bytes(real))
    assert len(DistilledSet(path)) == 4
    refused(path, tensors | {"colours": tensors["colours"] * 2}, "pixels from 0 to 2, outside 0 to 1")
    refused(path, tensors | {"colours": tensors["colours"][:3]}, "palette cannot be decoded")
    refused(path, tensors | {"colours": tensors["colours"].log()}, "'colours' holds NaN or infinite")
    refused(path, tensors | {"indices": tensors["indices"][:3]}, "shape")
    refused(path, tensors | {"images": torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8)}, "unexpected tensor 'images'")


def refused(
    path: Path, tensors: dict[str, Tensor], words: str, edit: Callable[[dict[str, Any]], object] = lambda d: None
) -> None:
    """A file of these tensors, its manifest edited and signed anew, is no bundle."""
    document = document_of(path)
    document["hashes"] = {name: tensor_sha256(tensor) for name, tensor in tensors.items()}
    edit(document)
    document["id"] = identify(document)
    broken = path.with_name("broken.safetensors")
    write_container(broken, tensors, document, overwrite=True)
    with pytest.raises(DataError, match=words) as caught:
        load_bundle(broken)
    assert caught.value.exit_code == 3
    assert caught.value.hint
    assert "\n" not in caught.value.message


def document_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["dgdd"])


SYNTHESES: list[tuple[object, str]] = [
    ({"name": "mosaik", "factor": 2}, "unknown parameterisation 'mosaik'"),
    ({"name": "mosaic"}, "settings are none of 'mosaic'"),
    ({"name": "mosaic", "factor": "2"}, "factor is '2'"),
    ({"name": "mosaic", "factor": 2.0}, "factor is 2.0"),
    ({"name": "mosaic", "factor": True}, "factor is True"),
    ({"name": "mosaic", "factor": -1}, "factor is -1"),
    ({"name": "mosaic", "factor": None}, "factor is None"),
    ({"name": "mosaic", "factor": [2]}, "factor is"),
    ({"name": "mosaic", "factor": 2, "more": 1}, "settings are none of 'mosaic'"),
    ({"name": "mosaic", "factor": 3}, "3 x 3 tiles do not divide 16"),
    ({"name": "mosaic", "factor": 4}, "shape"),
    ({"name": "pixels"}, "is stated as 'identity'"),
    ({"name": "identity", "factor": 2}, "settings are none of 'pixels'"),
    ({"name": ""}, "synthesis.name: .*blank"),
    ({"name": "\x1b[2J"}, "control characters"),
    ({"name": 3}, "synthesis.name"),
    ({"factor": 2}, "settings are none of 'pixels'"),
    ("mosaic", "synthesis"),
    (None, "synthesis"),
]


@pytest.mark.parametrize(("synthesis", "words"), SYNTHESES)
def test_manifests_that_lie_about_it(path: Path, synthesis: object, words: str) -> None:
    tensors, _ = read_container(path, kind="bundle", more=lambda document: {"images": TensorRule("U8", 4)})
    more = {"soft_labels": torch.full((16, 2), 0.5)}  # counts the training images
    refused(path, tensors | more, words, lambda d: d.update(synthesis=synthesis, label_kind="probability"))


def test_an_unknown_parameterisation_is_named_and_exits_with_3(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(PARAMETERISATIONS, "mosaic")
    assert run(["inspect", str(path)]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "unknown parameterisation 'mosaic'" in said
    assert "palette, pixels" in said


def test_what_decodes_to_more_than_is_read_is_refused_before_it_is_decoded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mosaic, "decode", lambda self, tensors: pytest.fail("decoded"))
    tensors, _ = read_container(path, kind="bundle", more=lambda document: {"images": TensorRule("U8", 4)})
    huge = 2**15

    def edit(document: dict[str, Any]) -> None:
        document["synthesis"]["factor"] = huge
        document["images"] |= {"height": huge, "width": huge}

    refused(path, tensors, "decodes to .* bytes", edit)
    refused(path, tensors, "square images", lambda d: d["images"].update(height=8))


def test_missing_and_extra_tensors(path: Path) -> None:
    tensors, _ = read_container(path, kind="bundle", more=lambda document: {"images": TensorRule("U8", 4)})
    for name in tensors:
        refused(path, {other: value for other, value in tensors.items() if other != name}, f"'{name}' is missing")
    refused(path, tensors | {"colours": torch.zeros(1, 3)}, "unexpected tensor 'colours'")
    refused(path, tensors | {"images": tensors["images"][:3]}, "shape")
    refused(path, tensors | {"images": tensors["images"].float()}, "must be uint8")


def test_names_and_sizes_that_do_not_fit_are_usage_errors() -> None:
    with pytest.raises(UnknownName, match="unknown parameterisation 'mosaik'") as caught:
        parameterisation("mosaik", {}, SIZE)
    assert caught.value.hint == "did you mean 'mosaic'?"
    with pytest.raises(UsageError, match="do not divide 16 pixels"):
        parameterisation("mosaic", {"factor": 3}, SIZE)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(factor=st.sampled_from([2, 4, 8]), stored=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_what_is_stored_is_what_is_decoded(factor: int, stored: int, seed: int) -> None:
    """Owner by owner, and storing what was loaded changes nothing."""
    found = mosaic({"factor": factor}, SIZE)
    real = torch.rand(stored * factor**2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    kept = found.store(found.encode(real))
    again = found.store(found.load(kept))
    assert torch.equal(kept["images"], again["images"])
    images, owners = found.decode(found.load(kept))
    assert images.shape == real.shape
    assert owners.tolist() == [i // factor**2 for i in range(len(real))]
    assert math.isclose(float(images.mean()), float(real.mean()), abs_tol=0.02)
