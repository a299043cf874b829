"""The published DM loop, written plainly from its description (Zhao & Bilen 2023, algorithm 1, released settings).

For every step: a fresh network; for every class: 256 sampled real images and all synthetic ones, augmented one image
at a time with the same numbers, two forward passes; one backward pass over the sum; one SGD step on the pixels.
It is the yardstick of the benchmarks and nothing else uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dgdd_cli.augment import Draw, draw
from dgdd_cli.networks import build

REAL_BATCH = 256


def plain_steps(
    images: Tensor, labels: Tensor, synthetic: Tensor, classes: int, strategy: str, steps: int, rate: float = 1.0
) -> Tensor:
    """`steps` steps of the plain loop: real images float (N, 3, S, S), synthetic (C·IPC, 3, S, S), both normalised."""
    generator = torch.Generator().manual_seed(0)
    synthetic = synthetic.clone().requires_grad_()
    optimiser = torch.optim.SGD([synthetic], lr=rate, momentum=0.5)
    ipc = len(synthetic) // classes
    for _ in range(steps):
        network = build("convnet", num_classes=classes, image_size=images.shape[-1], generator=generator).to(
            images.device
        )
        for parameter in network.parameters():
            parameter.requires_grad = False
        loss = synthetic.new_zeros(())
        for label in range(classes):
            mine = (labels == label).nonzero().squeeze(1)
            chosen = mine[torch.randperm(len(mine), generator=generator)[:REAL_BATCH].to(mine.device)]
            augmentation = draw(strategy, generator)
            real = one_by_one(augmentation, images[chosen])
            fake = one_by_one(augmentation, synthetic[label * ipc : (label + 1) * ipc])
            with torch.no_grad():
                target = network.features(real).mean(0)
            loss = loss + (target - network.features(fake).mean(0)).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
    return synthetic.detach()


def one_by_one(augmentation: Draw, images: Tensor) -> Tensor:
    """Each image augmented by itself, as a loop over samples does it."""
    return torch.cat([augmentation(image) for image in images.split(1)])
