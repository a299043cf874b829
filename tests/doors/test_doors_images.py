"""Another kind of set under the protocol `Images` (doors_procedural.py): what it gives, and what is asked of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doors_procedural import Procedural

import dgdd_cli.api.cluster
import dgdd_cli.engine.run
import dgdd_cli.evaluation.run
from dgdd_cli import Bundle, cluster, distill, evaluate
from dgdd_cli.data.dataset import DomainDataset

READERS = (dgdd_cli.api.cluster, dgdd_cli.engine.run, dgdd_cli.evaluation.run)
TRAJECTORY = {"trajectory.batch": 6, "trajectory.length": 2}
METHODS: dict[str, dict[str, Any]] = {
    "random": {},
    "kmeans": {},
    "dm": {"steps": 2, "probes": "fresh"},
    "mmd": {"steps": 2, "probes": "bank:1", "settings": {"probes.reservoir": 4}},
    "sgs": {"steps": 2, "probes": "bank:1", "risk": "cvar", "groups": "kmeans:2"},
    "dsa": {"steps": 2, "settings": TRAJECTORY},
    "rdd": {"steps": 3, "settings": {**TRAJECTORY, "probes.select": "kmeans", "trajectory.data": "real"}},
}


class Served:
    """What readers give meanwhile: `shapes` with so many images a cell, in memory or drawn from a file."""

    def __init__(self, build: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.build, self.folder = build, folder
        self.per_cell, self.drawn = 8, False
        self.asked: dict[str, set[int]] = {"batches": set(), "at": set()}
        for module in READERS:
            monkeypatch.setattr(module, "read_as", self)

    def __call__(self, context: Any, reading: Any, located: Any, *, image_size: int, domains: Any) -> Any:
        whole: DomainDataset = self.build(image_size, self.per_cell)
        pixels = whole.images.contiguous()  # as readers give them: in another layout convolutions round differently
        held = replace(whole, images=pixels, normalisation=None).only(list(domains))
        return self._drawn(held) if self.drawn else held

    def _drawn(self, held: DomainDataset) -> Procedural:
        file = self.folder / f"{'-'.join(held.domain_names)}-{len(held)}.pixels"
        pixels = np.memmap(file, np.uint8, "w+", shape=tuple(held.images.shape))
        pixels[:] = held.images.numpy()
        return Procedural(
            lambda number: torch.from_numpy(np.array(pixels[number])),
            torch.arange(len(held)),
            held.labels,
            held.domains,
            held.class_names,
            held.domain_names,
            held.image_size,
            name=held.name,
            licence=held.licence,
            asked=self.asked,
        )


@pytest.fixture
def served(shapes, tmp_path, monkeypatch) -> Served:
    return Served(shapes, tmp_path, monkeypatch)


def distilled(method: str, folder: Path, cache: Path) -> Bundle:
    given = METHODS[method]
    settings = {"probes.width": 4, "probes.batch": 4, **given.get("settings", {})} if method != "random" else {}
    named = {**given, "settings": settings}
    return distill(folder, method=method, target="cyan", ipc=1, image_size=16, cache_dir=cache, **named)


def evaluated(bundle: Bundle, folder: Path, cache: Path) -> list[Any]:
    found = evaluate(
        bundle,
        dataset=str(folder),
        epochs=1,
        repeats=2,
        baseline="random,balanced-random,kmeans,whole",
        groups="kmeans:2",
        corruptions="noise,blur",
        settings={"width": 4, "batch": 8, "whole_epochs": 1},
        cache_dir=cache,
    )
    own = ("bundle_id", "contestant", "training_set", "seconds", "name")  # of the file
    return [{key: value for key, value in row.document.items() if key not in own} for row in found]


@pytest.mark.parametrize("method", METHODS)
def test_a_set_is_distilled_to_the_tensors_of_the_one_in_memory(served, shapes_folder, tmp_path, method) -> None:
    held = distilled(method, shapes_folder, tmp_path / "held")
    served.drawn = True
    drawn = distilled(method, shapes_folder, tmp_path / "drawn")
    assert drawn.manifest == held.manifest
    assert drawn.tensors.keys() == held.tensors.keys()
    assert all(torch.equal(drawn.tensors[name], held.tensors[name]) for name in held.tensors)
    assert 0 < max(served.asked["at"]) < 48


def test_groups_pseudo_domains_and_accuracies_are_those_of_the_one_in_memory(served, shapes_folder, tmp_path) -> None:
    found = []
    for served.drawn in (False, True):
        cache, file = tmp_path / f"cache {served.drawn}", tmp_path / f"{served.drawn}.safetensors"
        given = {"groups": 2, "features": "convnet", "domains": "amber,blue", "image_size": 16, "cache_dir": cache}
        groups = cluster(shapes_folder, out=file, **given)
        more = {"ipc": 1, "image_size": 16, "cache_dir": cache, "settings": {"probes.width": 4}}
        styled = distill(shapes_folder, method="dm", target="cyan", steps=1, probes="bank:1", domains=file, **more)
        rows = evaluated(styled, shapes_folder, cache)
        found.append((groups.groups.tolist(), groups.manifest, styled.manifest, styled.images.tolist(), rows))
    assert found[0] == found[1]
    assert len(found[0][-1]) == 15


def test_nobody_asks_for_more_at_once_where_there_are_more_images(served, shapes_folder, tmp_path) -> None:
    """Batches are as large for twice as many images, and what is taken by index is a few."""
    served.drawn, found = True, []
    for served.per_cell in (8, 16):
        served.asked = {"batches": set(), "at": set()}
        cache = tmp_path / f"cache {served.per_cell}"
        for method in METHODS:
            bundle = distilled(method, shapes_folder, cache)
        evaluated(bundle, shapes_folder, cache)
        for features in ("pixels", "spectrum", "convnet"):
            cluster(shapes_folder, groups=2, features=features, image_size=16, cache_dir=cache)
        found.append(served.asked)
    assert found[0] == found[1]
    assert max(found[0]["at"]) <= 24  # of 96
