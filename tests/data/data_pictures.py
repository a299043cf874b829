"""Pictures and small folder sets for the tests of the readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

PACS_DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
PACS_CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


def picture(seed: int, size: tuple[int, int] = (24, 20)) -> Image.Image:
    """A noisy picture that is another one for each seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def write(path: Path, image: Image.Image, kind: str | None = None) -> Path:
    """Save a picture, making its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format=kind)
    return path


def draw_tree(root: Path, domains: Mapping[str, Sequence[str]], images: int = 2) -> Path:
    """<root>/<domain>/<class>/<i>.png, every picture another one."""
    seed = 0
    for domain, classes in domains.items():
        for label in classes:
            for i in range(images):
                write(root / domain / label / f"{i}.png", picture(seed))
                seed += 1
    return root


def draw_pacs(data_dir: Path, folder: str = "PACS", images: int = 1) -> Path:
    """A tiny PACS under `data_dir`."""
    return draw_tree(data_dir / folder, dict.fromkeys(PACS_DOMAINS, PACS_CLASSES), images)
