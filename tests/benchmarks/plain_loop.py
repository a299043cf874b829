"""The published DM loop, written plainly from its description (Zhao & Bilen 2023, algorithm 1, released settings).

For every step: a fresh network; for every class: 256 sampled real images and all synthetic ones, each batch augmented
at once with the same numbers (as released: crops gathered and affine grids built for every image of it), two forward
passes; one backward pass over the sum; one SGD step on the pixels.
It is the yardstick of the benchmarks and nothing else uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dgdd_cli.augment import Draw, draw, for_dataset
from dgdd_cli.config import resolve
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.engine.distill import initial_state
from dgdd_cli.networks import build
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import given
from dgdd_cli.runtime.precision import computing_in, has_tf32
from dgdd_cli.synthesis.pixels import normalise, to_unit

REAL_BATCH = 256


def plain_inputs(source: DomainDataset, ipc: int, device: torch.device) -> tuple[Tensor, list[Tensor], Tensor, str]:
    """The first four arguments of `plain_steps`; the synthetic set starts from the images that `dgdd` starts from."""
    norm = normalisation_of(source)
    mean, std = torch.tensor(norm.mean), torch.tensor(norm.std)
    recipe = resolve({"dataset": source.name, "method": "balanced-random"}).recipe
    state = initial_state(Context(seed=0, chosen=given(device)), source, recipe, ipc=ipc)
    images = normalise(to_unit(source.images), mean, std).to(device)
    synthetic = normalise(state.tensors["images"].cpu(), mean, std).to(device)
    rows = [(source.labels == label).nonzero().squeeze(1) for label in range(len(source.class_names))]
    return images, rows, synthetic, for_dataset("auto", source.name)


def plain_steps(
    images: Tensor,
    rows: Sequence[Tensor],
    synthetic: Tensor,
    strategy: str,
    steps: int,
    rate: float = 1.0,
    watch: Callable[[Tensor], bool] | None = None,
) -> Tensor:
    """`steps` steps of the plain loop: real images float (N, 3, S, S), synthetic (C·IPC, 3, S, S), both normalised;
    `rows` of the real images of each class, on the CPU.

    `watch` sees the synthetic images after each step and may end the loop by returning False. Convolutions are TF32
    where the device has it, as PyTorch's defaults make those of the released loop.
    """
    device = images.device
    with computing_in("tf32" if has_tf32(device) else "float32", device):
        return _steps(images, rows, synthetic, strategy, steps, rate, watch)


def _steps(
    images: Tensor,
    rows: Sequence[Tensor],
    synthetic: Tensor,
    strategy: str,
    steps: int,
    rate: float,
    watch: Callable[[Tensor], bool] | None,
) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    synthetic = synthetic.clone().requires_grad_()
    optimiser = torch.optim.SGD([synthetic], lr=rate, momentum=0.5)
    ipc = len(synthetic) // len(rows)
    for _ in range(steps):
        network = build("convnet", num_classes=len(rows), image_size=images.shape[-1], generator=generator).to(
            images.device
        )
        for parameter in network.parameters():
            parameter.requires_grad = False
        loss = synthetic.new_zeros(())
        for label, mine in enumerate(rows):
            chosen = mine[torch.randperm(len(mine), generator=generator)[:REAL_BATCH]].to(images.device)
            augmentation = draw(strategy, generator)
            real = at_once(augmentation, images[chosen])
            fake = at_once(augmentation, synthetic[label * ipc : (label + 1) * ipc])
            with torch.no_grad():
                target = network.features(real).mean(0)
            loss = loss + (target - network.features(fake).mean(0)).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
        if watch and not watch(synthetic.detach()):
            break
    return synthetic.detach()


def at_once(augmentation: Draw, images: Tensor) -> Tensor:
    """A batch augmented in one operation, by a row of numbers for each image, here all the same."""
    return replace(augmentation, uniforms=augmentation.uniforms.expand(len(images), -1))(images)
