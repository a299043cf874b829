"""The shares of a bank: what of the source set is seen by itself, how, and what its statistics depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dgdd_cli.config import Probes
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.held import resident
from dgdd_cli.data.images import Images
from dgdd_cli.networks import foreign_weights
from dgdd_cli.probes.bank import Share
from dgdd_cli.probes.subsets import rows_of_subsets, sample_subsets
from dgdd_cli.probes.view import Partition, View, image_features, subset_features
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.software import arithmetic
from dgdd_cli.runtime.transfer import to_device
from dgdd_cli.storage.cache import Key


def shares_of(
    context: Context,
    source: Images,
    settings: Probes,
    normalisation: Normalisation,
    view_of: Callable[[int], View],
    *,
    group_cells: Partition | None,
    samples: int,
    readout: str,
) -> list[Share]:
    """A share for each domain, its C cells, and one for the P group cells of a risk, if any.

    Each holds the means of its subsets, summed in float64 over its own images in their order, or the features of
    `samples` images of each, drawn from a stream with the domain's name: nothing of another domain is in it.
    `normalisation` is the one that the views use.
    """
    device = context.device
    (images,) = resident([source], device)
    common = {
        "dataset": source.name,
        "classes": list(source.class_names),
        "image_size": source.image_size,
        "probes": settings.model_dump(mode="json", exclude={"source", "batch", "select", "reservoir"}),
        "samples": samples,
        "readout": readout,
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "seed": context.seed,
    }
    if weights := foreign_weights(settings.network, image_size=source.image_size):
        common["weights"] = weights
    rounding, fingerprints = list(arithmetic(device, settings.precision)), source.domain_fingerprints()

    def share(what: str, rows: Tensor, partition: Partition, draw: tuple[str, ...], choices: Any, of: Any) -> Share:
        subsets = rows_of_subsets(partition)
        seen, here = Partition(partition.ids.to(device), partition.count), rows.to(device)

        def key(index: int) -> Key:
            facts = {"images": of, "arithmetic": rounding}
            return Key("banks", f"the probe bank of {what}", {**common, **choices, "index": index}, facts)

        def compute(index: int) -> Tensor:
            if not samples:
                return subset_features(view_of(index), images, [seen], here)[0]
            drawn = sample_subsets(subsets, samples, context.stream("probe", index, *draw), fill=True)
            return image_features(view_of(index), images, to_device(rows[drawn], device))

        return Share(partition.count * max(1, samples), key, compute)

    found = []
    for d, name in enumerate(source.domain_names):
        rows = (source.domains == d).nonzero().squeeze(1)
        cells = Partition(source.labels[rows], len(source.class_names))
        found.append(share(name, rows, cells, ("reservoir", name), {"domain": name}, fingerprints[name]))
    if group_cells is not None:
        ids, rows = group_cells.ids.cpu(), torch.arange(len(source))
        whose = hashlib.sha256(ids.numpy().tobytes() + source.domains.numpy().tobytes()).hexdigest()
        here = Partition(ids, group_cells.count)
        found.append(share("the groups", rows, here, ("parts reservoir",), {"parts": whose}, fingerprints))
    return found
