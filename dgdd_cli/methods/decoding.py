"""Between what is optimised and the training images that a step looks at: decoded on the way in, pulled back out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dgdd_cli.config import Recipe
from dgdd_cli.errors import UsageError
from dgdd_cli.methods.state import State, Stepped, Tensors
from dgdd_cli.synthesis.parameterisation import Parameterisation, parameterisation


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a step finds of the training images: their gradient (M, 3, H, W), the standing weights of the groups (G,),
    and figures to report."""

    update: Tensor
    standing: Tensor
    figures: dict[str, Tensor]


def parameterisation_of(recipe: Recipe, image_size: int) -> Parameterisation:
    """What the stored images of a recipe decode through. Raises UnknownName, and UsageError where it does not fit."""
    try:
        return parameterisation(recipe.synthesis.name, recipe.synthesis.settings, image_size)
    except ValueError as error:
        raise UsageError(f"synthesis: {error}", hint='--set synthesis.name="pixels"') from error


def owners_in(coding: Parameterisation, state: State) -> Tensor:
    """Which stored image owns each training image, int64 (M,)."""
    with torch.no_grad():
        return coding.decode(state.tensors)[1]


def decoded(
    coding: Parameterisation, look: Callable[[Tensor, int, Tensor], Seen]
) -> Callable[[Tensors, int, Tensor], Stepped]:
    """The gradients of a step from one on training images (images (M, 3, H, W), number, standing), by the chain rule.

    The images of pixels are the stored ones: nothing is copied.
    """

    def gradients(tensors: Tensors, number: int, standing: Tensor) -> Stepped:
        leaves = {name: value.detach().requires_grad_() for name, value in tensors.items()}
        images, _ = coding.decode(leaves)
        found = look(images.detach(), number, standing)
        pulled = torch.autograd.grad(images, list(leaves.values()), found.update)
        return Stepped(dict(zip(leaves, pulled, strict=True)), found.standing, found.figures)

    return gradients
