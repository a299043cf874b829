"""Differentiable siamese augmentation, DSA (Zhao & Bilen 2021, "Dataset Condensation with Differentiable Siamese
Augmentation", section 3): drawn once as plain numbers, then applied to any batch as a differentiable function.

Parameters follow the authors' released settings in normalised space: crop with 12.5 % padding, cutout of half the
side, scale 1/1.2 to 1.2 per axis, rotation up to 15 degrees, flip half the time, brightness U(-.5, .5) added,
saturation x U(0, 2) about the channel mean, contrast x U(.5, 1.5) about the image mean. One operation a draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dgdd_cli.data.catalog import entry_for
from dgdd_cli.errors import UnknownName

PADDING = 0.125
CUTOUT = 0.5
SCALE = 1.2
DEGREES = 15.0


@dataclass(frozen=True, slots=True)
class Draw:
    """One operation and its numbers: uniform draws (K, 3) in [0, 1), K = 1 (siamese) or one row an image."""

    operation: str
    uniforms: Tensor  # (K, 3)

    def __call__(self, images: Tensor) -> Tensor:
        """Augment float images (N, 3, H, W), differentiably and in their own dtype; K must be 1 or N.

        An autocast around it does not reach in: a grid in bfloat16 is off by 0.4 pixels at 224.
        """
        with torch.autocast(images.device.type, enabled=False):
            rows = self.uniforms.to(images.device, images.dtype)
            return OPERATIONS[self.operation](images, rows)


def parse(strategy: str) -> tuple[str, ...]:
    """The operations of a strategy such as `color_crop_cutout_flip_scale_rotate`; `none` is empty.

    Raises UnknownName for an operation that does not exist.
    """
    names = () if strategy == "none" else tuple(strategy.split("_"))
    for name in names:
        if name not in OPERATIONS:
            raise UnknownName("augmentation", name, OPERATIONS)
    return names


def draw(strategy: str, generator: torch.Generator, *, rows: int = 1) -> Draw:
    """Draw one operation of the strategy with `rows` rows of numbers: 1 makes it siamese."""
    names = parse(strategy)
    pick = int(torch.randint(max(len(names), 1), (), generator=generator))
    uniforms = torch.rand(rows, 3, generator=generator)
    return Draw(names[pick] if names else "identity", uniforms)


def _column(rows: Tensor, index: int) -> Tensor:
    return rows[:, index].view(-1, 1, 1, 1)  # (K, 1, 1, 1)


def _color(images: Tensor, rows: Tensor) -> Tensor:
    images = images + (_column(rows, 0) - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (_column(rows, 1) * 2) + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * (_column(rows, 2) + 0.5) + mean


def _crop(images: Tensor, rows: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    pad_y, pad_x = int(height * PADDING + 0.5), int(width * PADDING + 0.5)
    padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y))
    top = (rows[:, 0] * (2 * pad_y + 1)).long()
    left = (rows[:, 1] * (2 * pad_x + 1)).long()
    if rows.shape[0] == 1 and images.device.type == "cpu":  # elsewhere reading the numbers would synchronise
        y, x = int(top), int(left)
        return padded[..., y : y + height, x : x + width]
    ys = top[:, None] + torch.arange(height, device=images.device)  # (K, H)
    xs = left[:, None] + torch.arange(width, device=images.device)  # (K, W)
    image = torch.arange(images.shape[0], device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, ys[:, :, None], xs[:, None, :]].permute(0, 3, 1, 2)


def _cutout(images: Tensor, rows: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    size_y, size_x = int(height * CUTOUT + 0.5), int(width * CUTOUT + 0.5)
    centre_y = (rows[:, 0] * (height + 1 - size_y % 2)).long()[:, None]
    centre_x = (rows[:, 1] * (width + 1 - size_x % 2)).long()[:, None]
    ys = torch.arange(height, device=images.device)[None]
    xs = torch.arange(width, device=images.device)[None]
    in_y = (ys >= centre_y - size_y // 2) & (ys < centre_y + size_y - size_y // 2)  # (K, H)
    in_x = (xs >= centre_x - size_x // 2) & (xs < centre_x + size_x - size_x // 2)  # (K, W)
    hole = in_y[:, None, :, None] & in_x[:, None, None, :]
    return images.masked_fill(hole, 0)


def _flip(images: Tensor, rows: Tensor) -> Tensor:
    return torch.where(_column(rows, 0) < 0.5, images.flip(3), images)


def _affine(images: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta, [theta.shape[0], *images.shape[1:]], align_corners=False)
    return F.grid_sample(images, grid.expand(images.shape[0], -1, -1, -1), align_corners=False)


def _scale(images: Tensor, rows: Tensor) -> Tensor:
    factors = rows[:, :2] * (SCALE - 1 / SCALE) + 1 / SCALE  # (K, 2)
    return _affine(images, F.pad(torch.diag_embed(factors), (0, 1)))


def _rotate(images: Tensor, rows: Tensor) -> Tensor:
    angle = torch.deg2rad((rows[:, 0] - 0.5) * 2 * DEGREES)
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)  # (K, 2, 2)
    return _affine(images, F.pad(theta, (0, 1)))


def _identity(images: Tensor, rows: Tensor) -> Tensor:
    return images


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
    "identity": _identity,
}


def for_dataset(strategy: str, dataset: str) -> str:
    """`auto` made explicit: all operations, without the flip where the catalog says that it changes the class."""
    if strategy != "auto":
        return strategy
    entry = entry_for(dataset)
    left_out = {"identity"} if entry is None or entry.mirrors else {"identity", "flip"}
    return "_".join(name for name in OPERATIONS if name not in left_out)
