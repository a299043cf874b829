"""The (class, group) parts of a source set, over which a risk replaces the average."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.engine.groups import Groups
from dgdd_cli.engine.views import Partition


@dataclass(frozen=True, slots=True, eq=False)
class RiskParts:
    """P parts that have real images, in G groups, in B blocks: a risk is taken over the groups of each block.

    Groups that lie within classes make one block a class, so that no class is given up for another; groups that span
    classes (domains) make one block together.
    """

    partition: Partition  # (N,) part of each real image
    classes: Tensor  # (P,) int64
    groups: Tensor  # (P,) int64 in [0, G)
    group_images: Tensor  # (G,) int64
    group_parts: Tensor  # (G,) int64
    blocks: Tensor  # (G,) int64 in [0, B)
    block_count: int
    domains: Tensor | None  # (P,) int64 where the parts are the cells themselves

    def to(self, device: torch.device) -> RiskParts:
        """The same parts on a device."""
        return replace(
            self,
            partition=Partition(self.partition.ids.to(device), self.partition.count),
            classes=self.classes.to(device),
            groups=self.groups.to(device),
            group_images=self.group_images.to(device),
            group_parts=self.group_parts.to(device),
            blocks=self.blocks.to(device),
            domains=None if self.domains is None else self.domains.to(device),
        )


def risk_parts(source: DomainDataset, groups: Groups) -> RiskParts:
    """The parts of a source set under its groups."""
    count = len(groups.names)
    pairs, ids = torch.unique(source.labels * count + groups.assignments, return_inverse=True)
    classes, of_group = pairs // count, pairs % count
    blocks = torch.zeros(count, dtype=torch.int64)
    if groups.within_class:
        blocks[of_group] = classes
    return RiskParts(
        partition=Partition(ids, len(pairs)),
        classes=classes,
        groups=of_group,
        group_images=torch.bincount(groups.assignments, minlength=count),
        group_parts=torch.bincount(of_group, minlength=count),
        blocks=blocks,
        block_count=len(source.class_names) if groups.within_class else 1,
        domains=_domains_of(ids, len(pairs), source),
    )


def _domains_of(ids: Tensor, count: int, source: DomainDataset) -> Tensor | None:
    """The domain of each part, None unless parts and cells are the same sets of images."""
    cells = source.labels * len(source.domain_names) + source.domains
    pairs = torch.unique(ids * int(cells.max() + 1) + cells)  # sorted by part
    if not len(pairs) == count == len(cells.unique()):
        return None
    return pairs % int(cells.max() + 1) % len(source.domain_names)
