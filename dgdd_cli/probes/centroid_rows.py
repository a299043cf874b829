"""The real images nearest to K-means centroids, in the features of a random network."""

from __future__ import annotations

import torch
from torch import Tensor

from dgdd_cli.config import Probes
from dgdd_cli.data.held import resident
from dgdd_cli.data.images import Images
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.probes.view import image_features, make_view
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.precision import computing_in
from dgdd_cli.synthesis.initial import kmeans_rows


def centroid_rows(
    context: Context,
    source: Images,
    probes: Probes,
    *,
    ipc: int,
    index: int,
    generator: torch.Generator,
    repeats: bool = False,
) -> Tensor:
    """IPC rows of each class, int64 (C·IPC), by the network number `index` of a seed, which sees images as they are."""
    plain = probes.model_copy(update={"augment": "none"})
    view = make_view(source, plain, normalisation_of(source), context.seed, index, context.device)

    (images,) = resident([source], context.device)

    def features(rows: Tensor) -> Tensor:
        return image_features(view, images, rows.to(context.device)).cpu()

    with computing_in(probes.precision, context.device, setting="probes.precision"):
        return kmeans_rows(source, ipc, generator, features, repeats=repeats)
