"""One domain read: decoded, or taken from the cache; with what could not be read and what should be known of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dgdd_cli.data.decode import Failure, Remark, Sample, decode_samples
from dgdd_cli.data.kept_domain import Kept, domain_key, read_domain_file, write_domain_file
from dgdd_cli.data.opening import quiet
from dgdd_cli.errors import DataError
from dgdd_cli.progress import Progress
from dgdd_cli.storage.cache import Cache
from dgdd_cli.text import plural


@dataclass(frozen=True, slots=True)
class Domain:
    """What was read of a domain: `kept` int64 (n,), the samples that the first rows are; the failures; the notes."""

    kept: Tensor
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def read_domain(
    name: str,
    samples: Sequence[Sample],
    out: Tensor,  # (N, 3, H, W) uint8; its first rows become the images
    *,
    most: int | None,
    cache: Cache | None,
    progress: Progress,
) -> Domain:
    """Decode one domain, or take it from the cache; stops after `most` failures.

    Raises DataError when nothing of it can be read.
    """
    key = None
    if cache is not None:
        key = domain_key(name, samples, out.shape[-1], cache, progress)
        known = cache.get(key, partial(read_domain_file, count=len(samples), out=out))
        if known is not None:
            return _some(name, Domain(known.rows, known.failures, known.notes))
    failures: list[Failure] = []
    remarks: list[Remark] = []
    with quiet(), closing(decode_samples(samples, out, f"decoding {name}", progress)) as findings:
        for found in findings:
            if isinstance(found, Remark):
                remarks.append(found)
                continue
            failures.append(found)
            if len(failures) == most:
                return Domain(torch.zeros(0, dtype=torch.int64), tuple(failures), ())
    broken = {failure.index for failure in failures}
    kept = torch.tensor([i for i in range(len(samples)) if i not in broken], dtype=torch.int64)
    if broken:
        out[: len(kept)] = out[kept]
    domain = _some(name, Domain(kept, tuple(failures), _remarked(name, remarks)))
    if cache is not None and key is not None and not any(failure.passing for failure in failures):
        beside = Kept(kept, domain.failures, domain.notes)
        cache.put(key, partial(write_domain_file, images=out[: len(kept)], kept=beside))
    return domain


def _some(name: str, domain: Domain) -> Domain:
    if not len(domain.kept):
        why = "; ".join(dict.fromkeys(failure.reason for failure in domain.failures[:20]))
        cures = [failure.cure for failure in domain.failures[:20] if failure.cure]
        raise DataError(
            f"no image of the domain {name!r} could be read: {why}",
            hint="\n".join(dict.fromkeys(cures)) or "check that its files are images",
        )
    return domain


def _remarked(name: str, remarks: Sequence[Remark]) -> tuple[str, ...]:
    notes = []
    bits = [remark.bits for remark in remarks if remark.kind == "dark"]
    if bits:
        notes.append(
            f"{name}: {plural(len(bits), 'image')} of 16 bits fill no more than the lowest {max(bits)} of them and "
            f"come out nearly black: multiply their values by {2 ** (16 - max(bits))} to use the whole range"
        )
    stretched = sum(remark.kind == "stretched" for remark in remarks)
    if stretched:
        notes.append(
            f"{name}: {plural(stretched, 'image')} of floats or 32-bit integers, which have no range of their own: "
            "each is stretched from its smallest to its largest value, so brightness cannot be compared between them"
        )
    return tuple(notes)
