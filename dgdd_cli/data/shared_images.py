"""Which images domains have in common, told by their pixels, whatever their files, classes and folders are called."""

from __future__ import annotations

import hashlib
import itertools

import torch
from torch import Tensor

from dgdd_cli.data.images import Images, Pixels
from dgdd_cli.data.reader import Contents
from dgdd_cli.text import plural, printable

_HASHED = 1024  # images at once


def image_hashes(pixels: Pixels) -> Tensor:
    """64 bits of blake2b over each image's pixels, int64 (N,).

    Among a million images two different ones share a hash with a probability of 3e-8.
    """
    digests = [
        hashlib.blake2b(image.contiguous().numpy().data, digest_size=8).digest()
        for batch in pixels.batches(_HASHED)
        for image in batch
    ]
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64)


def file_names(contents: Contents | None, domain: str, rows: Tensor, count: int) -> tuple[str, ...]:
    """The files of some rows int64 (M,) of a domain of `count` images; none where rows and files do not correspond."""
    samples = contents.samples(domain)[0] if contents is not None else ()
    files = {sample.path for sample in samples}
    return tuple(printable(samples[row].name) for row in rows.tolist()) if len(files) == len(samples) == count else ()


def check_shared(source: Images) -> tuple[str, ...]:
    """One warning line for each two domains of the sources that are identical or share images."""
    if len(source.domain_names) < 2:
        return ()
    hashes = image_hashes(source)
    by_domain = [hashes[source.domains == d].sort().values for d in range(len(source.domain_names))]
    lines = []
    for (one, ours), (other, theirs) in itertools.combinations(zip(source.domain_names, by_domain, strict=True), 2):
        both = f"the sources {one!r} and {other!r}"
        if shared := int(torch.isin(ours, theirs).sum()):
            lines.append(
                f"{both} are identical: {plural(len(ours), 'image')} that count twice"
                if torch.equal(ours, theirs)
                else f"{both} share {plural(shared, 'image')}, of {len(ours):,} and {len(theirs):,}, that count twice"
            )
    return tuple(lines)
