"""Probes: a view, and the statistics of the real images seen through it.

A probe is a function of (seed, index) alone. `fresh` draws a new view and a sample of the real images at every step,
as published; a bank holds K views with exact statistics of the whole source set, so that a step touches only synthetic
images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from dgdd_cli.config import Probes
from dgdd_cli.data.dataset import DomainDataset, Normalisation
from dgdd_cli.errors import UsageError
from dgdd_cli.probes.bank import Shelf, fill_bank, shelf_name
from dgdd_cli.probes.view import Partition, View, image_features, make_view, subset_features
from dgdd_cli.progress import Progress
from dgdd_cli.runtime.ranks import ALONE, Ranks
from dgdd_cli.runtime.seeds import stream
from dgdd_cli.runtime.software import arithmetic
from dgdd_cli.runtime.transfer import to_device
from dgdd_cli.text import plural

VIEWS_KEPT = 256  # networks of a bank that stay built; others are drawn again when their turn comes


@dataclass(frozen=True, slots=True)
class Probe:
    """A view and what is known through it: of every cell of the source set, and of every part of a risk.

    Mean features (C, D, F) and (P, F), or the features of R samples, (C, D, R, F) and (P, R, F).
    """

    view: View
    cells: Tensor
    parts: Tensor  # P = 0 without a risk


def probe_source(
    source: DomainDataset,
    settings: Probes,
    normalisation: Normalisation,
    *,
    seed: int,
    steps: int,
    device: torch.device,
    progress: Progress,
    parts: Partition | None = None,
    samples: int = 0,
    readout: str = "features",
    ranks: Ranks = ALONE,
    cache: Path | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> Callable[[int], Probe]:
    """Step number to probe, for steps 0 .. steps − 1. A bank is computed here, under the stage `probe bank`, or taken
    from the folder `cache`; one that has no room raises UsageError with the estimate before it starts. Of a bank every
    rank holds its share, the probes whose number leaves its rank; fresh probes are dealt to the ranks in turn.
    `parts` are the subsets that a risk is about (see risk_parts.py). With `samples` R the probes hold the features of R
    random images of each subset, other ones for every probe, instead of the means."""
    shape = (len(source.class_names), len(source.domain_names))
    images = source.images.to(device)
    cells = Partition((source.labels * shape[1] + source.domains).to(device), shape[0] * shape[1])
    partitions = [cells] if parts is None else [cells, Partition(parts.ids.to(device), parts.count)]
    sorted_rows = [rows_of_subsets(partition) for partition in partitions]  # drawn from on the CPU
    each = (samples,) if samples else ()
    counts = [partition.count * max(1, samples) for partition in partitions]

    def view_of(index: int) -> View:
        return make_view(source, settings, normalisation, seed, index, device, readout)

    def probe_of(view: View, found: Sequence[Tensor]) -> Probe:
        width = found[0].shape[-1]
        of_parts = found[1] if len(found) > 1 else found[0][:0]
        return Probe(view, found[0].view(*shape, *each, width), of_parts.view(-1, *each, width))

    def statistics(view: View, index: int) -> list[Tensor]:
        """What a bank holds of each partition: (count, F), or (count · R, F)."""
        if not samples:
            return subset_features(view, images, partitions)
        found = []
        for subsets, name in zip(sorted_rows, ("reservoir", "parts reservoir"), strict=False):
            rows = sample_subsets(subsets, samples, stream(seed, "probe", index, name), fill=True)
            found.append(image_features(view, images, to_device(rows, device)))
        return found

    def sampled(step: int) -> Probe:
        index = step * ranks.size + ranks.rank
        view = view_of(index)
        if samples:
            return probe_of(view, statistics(view, index))
        means = []
        for place, name in zip(range(len(partitions)), ("batch", "parts"), strict=False):
            rows = sample_subsets(sorted_rows[place], settings.batch, stream(seed, "probe", index, name))
            rows = to_device(rows, device)
            means += subset_features(view, images, [partitions[place].only(rows)], rows)
        return probe_of(view, means)

    if settings.bank_size is None:
        return sampled
    if settings.bank_size < ranks.size:
        raise UsageError(
            f"a bank of {plural(settings.bank_size, 'probe')} is too small for {ranks.size} ranks",
            hint=f"--probes bank:{ranks.size} or more",
        )
    mine = range(settings.bank_size)[ranks.rank :: ranks.size][:steps]
    view_kept = lru_cache(VIEWS_KEPT)(view_of)
    bank = fill_bank(
        lambda index: torch.cat(statistics(view_kept(index), index)),
        mine,
        (sum(counts), view_kept(0).width(source.image_size)),
        device=device,
        shelf=_shelf(cache, source, settings, normalisation, seed, mine, device, parts, samples, readout),
        progress=progress,
        note=note,
    )

    def banked(step: int) -> Probe:
        turn, place = divmod(step, len(mine))
        chosen = int(torch.randperm(len(mine), generator=stream(seed, "bank", turn))[place])
        return probe_of(view_kept(mine[chosen]), to_device(bank[chosen], device).split(counts))

    return banked


def _shelf(
    cache: Path | None,
    source: DomainDataset,
    settings: Probes,
    normalisation: Normalisation,
    seed: int,
    indices: range,
    device: torch.device,
    parts: Partition | None,
    samples: int,
    readout: str,
) -> Shelf | None:
    if cache is None:
        return None
    facts = [
        source.name,
        *(source.class_names, source.domain_names, source.image_size),
        shelf_name(source.domains.tolist()),  # pseudo-domains are no other images
        settings.model_dump(mode="json", exclude={"source", "batch", "select", "reservoir"}),
        samples,
        readout,
        *(normalisation.mean, normalisation.std),
        *(seed, indices.start, indices.step, len(indices)),
        *arithmetic(device, settings.precision),
        None if parts is None else shelf_name(parts.ids.tolist()),
    ]
    return Shelf(cache / "banks", shelf_name(facts), source.fingerprint())


def rows_of_subsets(partition: Partition) -> tuple[Tensor, ...]:
    """The rows of every subset of a partition, in order, int64 on the CPU: one sort, whatever their number."""
    ids = partition.ids.cpu()
    return ids.argsort(stable=True).split(torch.bincount(ids, minlength=partition.count).tolist())


def sample_subsets(subsets: Sequence[Tensor], batch: int, generator: torch.Generator, *, fill: bool = False) -> Tensor:
    """At most `batch` random rows of every subset (n_m,), int64, subset by subset.

    With `fill` exactly `batch`: a smaller subset repeats its rows, and one without images gives row 0.
    """
    picks = []
    for rows in subsets:
        drawn = rows[torch.randperm(len(rows), generator=generator)[:batch]]
        if fill and len(drawn) < batch:
            drawn = drawn if len(drawn) else drawn.new_zeros(1)
            drawn = drawn[torch.arange(batch) % len(drawn)]
        picks.append(drawn)
    return torch.cat(picks)
