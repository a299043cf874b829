from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run
from dgdd_cli.data import dataset as module
from dgdd_cli.data.dataset import DomainDataset


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, int, int]]:
    """How often the pixels of a domain were hashed, by where they lie in memory; none of them is freed meanwhile."""
    counts: Counter[tuple[int, int, int]] = Counter()
    alive = []
    real = module.hash_domain

    def counted(dataset: DomainDataset, domain: int) -> str:
        alive.append(dataset)
        counts[dataset.images.data_ptr(), dataset.domains.data_ptr(), domain] += 1
        return real(dataset, domain)

    monkeypatch.setattr(module, "hash_domain", counted)
    return counts


def test_pixels_are_hashed_once(shapes: Callable[..., DomainDataset], hashed: Counter[tuple[int, int, int]]) -> None:
    dataset = shapes()
    first = dataset.fingerprint(), dataset.domain_fingerprints()
    assert (dataset.fingerprint(), dataset.domain_fingerprints()) == first
    assert dataset.only(["cyan"]).domain_fingerprints() == {"cyan": first[1]["cyan"]}
    assert sorted(hashed.values()) == [1, 1, 1]


def test_other_pixels_or_labels_are_hashed_anew(shapes: Callable[..., DomainDataset]) -> None:
    dataset = shapes()
    before = dataset.domain_fingerprints()
    inverted = replace(dataset, images=255 - dataset.images)
    relabelled = replace(dataset, labels=dataset.labels.flip(0))
    for other in (inverted, relabelled):
        assert all(other.domain_fingerprints()[name] != before[name] for name in dataset.domain_names)
        assert other.fingerprint() != dataset.fingerprint()
    swapped = replace(dataset, domain_names=("blue", "amber", "cyan"))
    assert swapped.domain_fingerprints()["amber"] == before["blue"]


def test_a_run_hashes_no_domain_twice(
    shapes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: Counter[tuple[int, int, int]]
) -> None:
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    out = str(tmp_path / "b.safetensors")
    quick = ["--ipc", "1", "--image-size", "8", "--steps", "1", "--set", "probes.width=8", "--probes", "bank:1"]
    risk = ["--method", "dm", "--risk", "cvar", "--groups", "kmeans:2"]
    assert run(["distill", str(shapes_folder), "--target", "cyan", *quick, *risk, "--out", out, "-q"]) == 0
    assert set(hashed.values()) == {1}
    hashed.clear()
    quick = ["--dataset", str(shapes_folder), "--repeats", "1", "--epochs", "1", "--baseline", "random", "-q"]
    assert run(["evaluate", out, *quick, "--groups", "kmeans:2", "--corruptions", "blur"]) == 0
    assert set(hashed.values()) == {1}
