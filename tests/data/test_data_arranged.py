"""Sets joined and under other domains, against the same set made by hand in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dgdd_cli.data.arranged import joined, under_domains
from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.images import Images
from dgdd_cli.errors import UnknownName


def same(found: Images, wanted: DomainDataset) -> None:
    """Pixels in any order and in batches across the sets, indices, counts and fingerprints."""
    rows = torch.randperm(len(wanted), generator=torch.Generator().manual_seed(0))[:11]
    assert (len(found), found.image_size, found.name) == (len(wanted), wanted.image_size, wanted.name)
    assert torch.equal(found.at(rows), wanted.images[rows])
    assert [len(part) for part in found.batches(7)] == [len(part) for part in wanted.images.split(7)]
    assert torch.equal(torch.cat(list(found.batches(7))), wanted.images)
    assert torch.equal(torch.cat(list(found.batches(3, rows))), wanted.images[rows])
    assert torch.equal(found.labels, wanted.labels)
    assert torch.equal(found.domains, wanted.domains)
    assert torch.equal(found.counts(), wanted.counts())
    assert found.domain_names == wanted.domain_names
    assert found.domain_fingerprints() == wanted.domain_fingerprints()
    assert found.fingerprint() == wanted.fingerprint()
    assert (found.normalisation, found.notes, found.licence) == (wanted.normalisation, wanted.notes, wanted.licence)


def test_joined_sets_are_one(shapes) -> None:
    whole = shapes()
    parts = {name: whole.only([name]) for name in ("cyan", "amber")}
    both = joined(parts)
    same(both, whole_of(whole))
    same(both.only(["amber"]), whole.only(["amber"]))
    assert joined({"cyan": parts["cyan"]}) is parts["cyan"]
    with pytest.raises(UnknownName, match="ambr"):
        both.only(["ambr"])


def whole_of(whole: DomainDataset) -> DomainDataset:
    """Cyan before amber, by hand."""
    rows = torch.cat([(whole.domains == d).nonzero().squeeze(1) for d in (2, 0)])
    domains = torch.tensor([0] * 18 + [1] * 18)
    names = ("cyan", "amber")
    return replace(whole, images=whole.images[rows], labels=whole.labels[rows], domains=domains, domain_names=names)


def test_other_domains_are_other_fingerprints(shapes) -> None:
    whole, domains = shapes(), torch.arange(54) % 2
    found = under_domains(whole, domains, ["even", "odd"])
    same(found, replace(whole, domains=domains, domain_names=("even", "odd")))
    same(found.only(["odd"]), replace(whole, domains=domains, domain_names=("even", "odd")).only(["odd"]))
