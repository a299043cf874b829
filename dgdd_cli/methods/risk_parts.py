"""The (class, group) parts of a source set, over which a risk replaces the average."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dgdd_cli.data.images import Images
from dgdd_cli.groups.find import Groups
from dgdd_cli.probes.view import Partition


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
        )


def risk_parts(source: Images, groups: Groups) -> RiskParts:
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
    )


@dataclass(frozen=True, slots=True, eq=False)
class DomainPieces:
    """The parts of a risk split by domain into Q pieces that have real images."""

    partition: Partition  # (N,) piece of each real image
    classes: Tensor  # (Q,) int64
    domains: Tensor  # (Q,) int64
    parts: Tensor  # (Q,) int64 in [0, P)
    of_part: Tensor  # (Q,) float32, the share of its part's images
    of_cell: Tensor  # (Q,) float32, the share of its cell's images


def split_by_domain(source: Images, parts: RiskParts) -> DomainPieces:
    """The pieces of the parts of a source set, on the device of the parts."""
    device, sources = parts.classes.device, len(source.domain_names)
    pairs, ids = torch.unique(parts.partition.ids.cpu() * sources + source.domains, return_inverse=True)
    of_piece, domains = pairs // sources, pairs % sources
    classes = parts.classes.cpu()[of_piece]
    sizes = torch.bincount(ids)
    of_part = sizes / torch.bincount(parts.partition.ids.cpu())[of_piece]
    of_cell = sizes / source.counts()[classes, domains]
    tensors = (classes, domains, of_piece, of_part, of_cell)
    return DomainPieces(Partition(ids.to(device), len(pairs)), *(tensor.to(device) for tensor in tensors))
