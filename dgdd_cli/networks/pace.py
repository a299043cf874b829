"""How fast a device is, by one small pass: only what is said of a run depends on it, never what is computed."""

from __future__ import annotations

import time
from typing import Literal

import torch

from dgdd_cli.networks import build

PIXELS = {"cpu": 2**14}  # of the images that are timed: 16 of 32 px
PIXELS_ELSEWHERE = 2**20

Way = Literal["forward", "pixels", "weights"]


def seconds_an_image(
    name: str,
    way: Way,
    *,
    image_size: int,
    width: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    autocast: bool = False,
) -> float:
    """Seconds an image of a pass through a new network: forward without gradients, or forward and back to the pixels
    or to the weights. The faster of two passes after a first one counts."""
    generator = torch.Generator().manual_seed(0)
    network = build(name, num_classes=1, image_size=image_size, generator=generator, width=width).to(device, dtype)
    count = max(2, PIXELS.get(device.type, PIXELS_ELSEWHERE) // image_size**2)  # batch statistics need two
    images = torch.rand(count, 3, image_size, image_size, generator=generator).to(device, dtype)
    network.requires_grad_(way == "weights")
    wanted = list(network.parameters()) if way == "weights" else [images.requires_grad_(way == "pixels")]

    def once() -> float:
        _wait(device)
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast), torch.set_grad_enabled(way != "forward"):
            found = network(images).float().sum()
            if way != "forward":
                torch.autograd.grad(found, wanted)
        _wait(device)
        return time.perf_counter() - began

    once()
    return min(once(), once()) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
