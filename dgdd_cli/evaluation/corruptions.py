"""Shifted copies of test images: noise, blur and inverted colours, as in arXiv 2402.04676 (section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from dgdd_cli.data.images import Pixels
from dgdd_cli.errors import UnknownName
from dgdd_cli.synthesis.pixels import to_bytes, to_unit

NOISE_VARIANCE = 0.005  # of pixels in [0, 1]
BLUR_SHARE = 2 / 32  # σ as a share of the side: a radius of 2 px at 32 px, and the same look at other sizes
_CHUNK_PIXELS = 2**20  # 1,024 images of 32 px
_BLOCK = 16  # numbers that a normal draw makes together: chunks of whole blocks draw what all images at once would


def noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of variance 0.005 on pixels in [0, 1], clipped: uint8 (N, 3, H, W) to uint8."""
    deviation = NOISE_VARIANCE**0.5
    return _by_chunks(images, lambda x: x + deviation * torch.randn(x.shape, generator=generator))


def blur(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian blur of standard deviation 2 px at 32 px, cut at 4σ, mirrored at the border: uint8 (N, 3, H, W)."""
    side = min(images.shape[-2:])
    deviation = BLUR_SHARE * side
    reach = min(int(4 * deviation + 0.5), side - 1)  # a mirrored border has no more than side − 1 pixels
    return _by_chunks(images, lambda x: gaussian_blur(x, [2 * reach + 1] * 2, [deviation] * 2))


def invert(images: Tensor, generator: torch.Generator) -> Tensor:
    """1 − x: uint8 (N, 3, H, W) to uint8."""
    return 255 - images


CORRUPTIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {"noise": noise, "blur": blur, "invert": invert}


def check_corruptions(names: Iterable[str]) -> None:
    """Raise UnknownName for a corruption that does not exist."""
    for name in names:
        if name not in CORRUPTIONS:
            raise UnknownName("corruption", name, CORRUPTIONS)


def shift(images: Pixels, corruption: str, generator: torch.Generator) -> Tensor:
    """All images under a corruption, chunk by chunk: uint8 (N, 3, H, W)."""
    return torch.cat([CORRUPTIONS[corruption](part, generator) for part in images.batches(_chunk(images.image_size))])


def _by_chunks(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([to_bytes(change(to_unit(part))) for part in images.split(_chunk(images.shape[-1]))])


def _chunk(image_size: int) -> int:
    return max(_BLOCK, _CHUNK_PIXELS // image_size**2 // _BLOCK * _BLOCK)
