"""Named random streams: every draw of a run comes from one seed and a name, so a step can be replayed alone."""

from __future__ import annotations

import hashlib
import json

import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator seeded by sha256 of `seed` and the path of names: the same path gives the same draws.

    Streams are keyed by step, not advanced by it; a resumed run therefore has no generator state to restore.
    """
    path = json.dumps([seed, *names], separators=(",", ":")).encode()
    key = int.from_bytes(hashlib.sha256(path).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(key)
