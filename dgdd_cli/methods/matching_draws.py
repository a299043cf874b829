"""What chance decides in a step of gradient matching: drawn on the host, moved to the device at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dgdd_cli.augment import Draw
from dgdd_cli.methods.real_batch import ClassBatch
from dgdd_cli.runtime.transfer import together


@dataclass(frozen=True, slots=True, eq=False)
class MatchingDraws:
    """The numbers of one step.

    For each class its real images and how all images of the class are seen; and the batches that the network is
    trained on before, as rows (B,) of the synthetic or the source set, each image seen in its own way.
    """

    batches: Sequence[ClassBatch]
    views: Sequence[Draw]
    training: Sequence[tuple[Tensor, Draw]]

    def to(self, device: torch.device) -> MatchingDraws:
        """The same on a device, by two copies."""
        rows = together([batch.rows for batch in self.batches] + [own for own, _ in self.training], device)
        draws = [*self.views, *(seen for _, seen in self.training)]
        numbers = together([batch.weights for batch in self.batches] + [seen.uniforms for seen in draws], device)
        classes = len(self.batches)
        moved = [replace(seen, uniforms=held) for seen, held in zip(draws, numbers[classes:], strict=True)]
        return MatchingDraws(
            [ClassBatch(own, weights) for own, weights in zip(rows[:classes], numbers[:classes], strict=True)],
            moved[: len(self.views)],
            list(zip(rows[classes:], moved[len(self.views) :], strict=True)),
        )
