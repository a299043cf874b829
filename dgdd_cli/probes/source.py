"""Probes: a view, and the statistics of the real images seen through it.

A probe is a function of (seed, index) alone. `fresh` draws a new view and a sample of the real images at every step,
as published; a bank holds K views with exact statistics of the whole source set, so that a step touches only synthetic
images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from dgdd_cli.config import Probes
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.held import resident
from dgdd_cli.data.images import Images
from dgdd_cli.errors import UsageError
from dgdd_cli.networks import normalised_by
from dgdd_cli.probes.bank import fill_bank
from dgdd_cli.probes.shares import shares_of
from dgdd_cli.probes.subsets import cells_of_group_cells, rows_of_subsets, sample_subsets
from dgdd_cli.probes.view import Partition, View, image_features, make_view, subset_features
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.transfer import to_device
from dgdd_cli.text import plural

VIEWS_KEPT = 256  # networks of a bank that stay built; others are drawn again when their turn comes


@dataclass(frozen=True, slots=True)
class Probe:
    """A view and what is known through it: of every cell of the source set, and of every group cell of a risk.

    Mean features (C, D, F) and (P, F), or the features of R samples, (C, D, R, F) and (P, R, F).
    """

    view: View
    cells: Tensor
    group_cells: Tensor  # P = 0 without a risk


def probe_source(
    context: Context,
    source: Images,
    settings: Probes,
    normalisation: Normalisation,
    *,
    steps: int,
    group_cells: Partition | None = None,
    samples: int = 0,
    readout: str = "features",
) -> Callable[[int], Probe]:
    """Step number to probe, for steps 0 .. steps − 1. A bank is computed here, under the stage `probe bank`, or taken
    from the cache; one that has no room raises UsageError with the estimate before it starts. Of a bank every
    rank holds its share, the probes whose number leaves its rank; fresh probes are dealt to the ranks in turn.
    `group_cells` are those of a risk (see methods/group_cells.py). With `samples` R the probes hold the features of R
    random images of each subset, other ones for every probe, instead of the means."""
    device, ranks = context.device, context.ranks
    shape = (len(source.class_names), len(source.domain_names))
    each = (samples,) if samples else ()
    cells = Partition(source.labels * shape[1] + source.domains, shape[0] * shape[1])

    def view_of(index: int) -> View:
        return make_view(source, settings, normalisation, context.seed, index, device, readout)

    def fresh() -> Callable[[int], Probe]:
        (images,), partitions = resident([source], device), [cells] if group_cells is None else [cells, group_cells]
        subsets = [rows_of_subsets(partition) for partition in partitions]
        on_device = [Partition(partition.ids.to(device), partition.count) for partition in partitions]

        def statistics(view: View, index: int, place: int) -> Tensor:
            name = (("reservoir", "parts reservoir") if samples else ("batch", "parts"))[place]
            draw, number = context.stream("probe", index, name), samples or settings.batch
            rows = to_device(sample_subsets(subsets[place], number, draw, fill=samples > 0), device)
            if samples:
                return image_features(view, images, rows)
            return subset_features(view, images, [on_device[place].only(rows)], rows)[0]

        def sampled(step: int) -> Probe:
            index = step * ranks.size + ranks.rank
            view = view_of(index)
            found = [statistics(view, index, place) for place in range(len(partitions))]
            width = found[0].shape[1]
            of_group_cells = found[1] if len(found) > 1 else found[0][:0]
            return Probe(view, found[0].view(*shape, *each, width), of_group_cells.view(-1, *each, width))

        return sampled

    def banked(size: int) -> Callable[[int], Probe]:
        mine = range(size)[ranks.rank :: ranks.size][:steps]
        view_kept = lru_cache(VIEWS_KEPT)(view_of)
        are_cells = None if group_cells is None else cells_of_group_cells(cells, group_cells)
        own_group_cells = group_cells if are_cells is None else None
        shares = shares_of(
            context,
            source,
            settings,
            normalised_by(view_kept(0).network, normalisation),
            view_kept,
            group_cells=own_group_cells,
            samples=samples,
            readout=readout,
        )
        width, of_cells = view_kept(0).width(source.image_size), cells.count * max(1, samples)
        bank = fill_bank(context, shares, mine, width)
        chosen_cells = None if are_cells is None else are_cells.to(device)

        def chosen(step: int) -> Probe:
            turn, place = divmod(step, len(mine))
            number = int(torch.randperm(len(mine), generator=context.stream("bank", turn))[place])
            found = bank(number)  # domain by domain
            seen = found[:of_cells].view(shape[1], shape[0], *each, width).transpose(0, 1).contiguous()
            of_group_cells = found[of_cells:].view(-1, *each, width)
            if chosen_cells is not None:
                of_group_cells = seen.flatten(0, 1)[chosen_cells]
            return Probe(view_kept(mine[number]), seen, of_group_cells)

        return chosen

    if settings.bank_size is None:
        return fresh()
    if settings.bank_size < ranks.size:
        raise UsageError(
            f"a bank of {plural(settings.bank_size, 'probe')} is too small for {ranks.size} ranks",
            hint=f"--probes bank:{ranks.size} or more",
        )
    return banked(settings.bank_size)
