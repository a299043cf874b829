"""Readouts: what of an image is compared, one function each and a line in READOUTS.

`(backbone, images (N, 3, H, W) normalised) -> (N, F)`: statistics of each image by itself, whose means, or samples of
them, an objective compares. How wide they are is measured; the exact means of any of them fit a bank.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from dgdd_cli.errors import UnknownName
from dgdd_cli.networks import Backbone
from dgdd_cli.networks.backbone import features

Readout = Callable[[Backbone, Tensor], Tensor]

READOUTS: dict[str, Readout] = {"features": features}  # those that the classifier reads, as DM does


def readout_named(name: str) -> Readout:
    """The readout of a name. Raises UnknownName."""
    if name not in READOUTS:
        raise UnknownName("readout", name, READOUTS)
    return READOUTS[name]
