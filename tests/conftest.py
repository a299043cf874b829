"""Small data for every room: a set whose classes are shapes and whose domains are colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from dgdd_cli.data.dataset import DomainDataset, Normalisation

SHAPES = ("bar", "box", "dot")
COLOURS = {"amber": (230, 160, 20), "blue": (30, 60, 220), "cyan": (20, 200, 210)}


def draw_shape(shape: str, colour: tuple[int, int, int], size: int, random: np.random.Generator) -> np.ndarray:
    """One noisy picture uint8 (size, size, 3) of a shape on the colour's ground."""
    picture = np.ones((size, size, 3)) * np.array(colour)
    y, x = random.integers(0, size // 4, 2)
    ink = 255 - np.array(colour)
    if shape == "bar":
        picture[y : y + size // 4] = ink
    elif shape == "box":
        picture[y : y + size // 2, x : x + size // 2] = ink
    else:
        picture[size // 2 + y // 2 : size // 2 + y // 2 + 2, x + 1 : x + 3] = ink
    return (picture + random.normal(0, 12, picture.shape)).clip(0, 255).astype(np.uint8)


class Dispatched(TorchDispatchMode):
    """What the libraries below autograd are asked for: calls by operator, and the elements of the largest result."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.__name__.partition(".")[0]] += 1
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.largest = max(self.largest, result.numel())
        return result


@pytest.fixture
def dispatched() -> type[Dispatched]:
    """`with dispatched() as seen:` counts the operators of its body: `seen.calls["convolution_backward"]`."""
    return Dispatched


@pytest.fixture
def shapes() -> Callable[..., DomainDataset]:
    """Builder of an in-memory DomainDataset: 3 classes x up to 3 domains, `per_cell` images of `size` px."""

    def build(size: int = 8, per_cell: int = 6, domains: tuple[str, ...] = tuple(COLOURS)) -> DomainDataset:
        random = np.random.default_rng(7)
        images, labels, places = [], [], []
        for d, domain in enumerate(domains):
            for c, shape in enumerate(SHAPES):
                for _ in range(per_cell):
                    images.append(draw_shape(shape, COLOURS[domain], size, random).transpose(2, 0, 1))
                    labels.append(c)
                    places.append(d)
        return DomainDataset(
            name="shapes",
            images=torch.from_numpy(np.stack(images)),
            labels=torch.tensor(labels),
            domains=torch.tensor(places),
            class_names=SHAPES,
            domain_names=domains,
            normalisation=Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test"),
        )

    return build


def write_tree(
    root: Path, domains: dict[str, tuple[int, int, int]], classes: tuple[str, ...], per_cell: int, size: int = 16
) -> Path:
    """A dataset on disk: <domain>/<class>/<image>, the last domain as PNG, the others as JPEG."""
    random = np.random.default_rng(3)
    for d, (domain, colour) in enumerate(domains.items()):
        for c, name in enumerate(classes):
            folder = root / domain / name
            folder.mkdir(parents=True)
            for i in range(per_cell):
                ending = "png" if d == len(domains) - 1 else "jpg"
                picture = draw_shape(SHAPES[c % 3], colour, size, random)
                Image.fromarray(picture).save(folder / f"pic_{i:03d}.{ending}")
    return root


@pytest.fixture
def shapes_folder(tmp_path: Path) -> Path:
    """A folder set of three domains and three classes, five images a cell."""
    return write_tree(tmp_path / "shapes", COLOURS, SHAPES, per_cell=5)


@pytest.fixture
def tiny_pacs(tmp_path: Path) -> Path:
    """A data folder that holds a PACS of three tiny images a cell."""
    from dgdd_cli.data.catalog import CATALOG

    grounds = dict(zip(CATALOG["pacs"].domain_names, [*COLOURS.values(), (128, 128, 128)], strict=True))
    write_tree(tmp_path / "data" / "pacs", grounds, CATALOG["pacs"].class_names, per_cell=4)
    return tmp_path / "data"
