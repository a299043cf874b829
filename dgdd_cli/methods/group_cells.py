"""The (class, group) cells of a source set, over which a risk replaces the average."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dgdd_cli.data.images import Images
from dgdd_cli.groups.find import Groups
from dgdd_cli.probes.view import Partition


@dataclass(frozen=True, slots=True, eq=False)
class GroupCells:
    """P group cells that have real images, in G groups, in B blocks: a risk is taken over the groups of each block.

    Groups that lie within classes make one block a class, so that no class is given up for another; groups that span
    classes (domains) make one block together.
    """

    partition: Partition  # (N,) group cell of each real image
    classes: Tensor  # (P,) int64
    groups: Tensor  # (P,) int64 in [0, G)
    group_images: Tensor  # (G,) int64
    cells_of_group: Tensor  # (G,) int64
    blocks: Tensor  # (G,) int64 in [0, B)
    block_count: int

    def to(self, device: torch.device) -> GroupCells:
        """The same group cells on a device."""
        return replace(
            self,
            partition=Partition(self.partition.ids.to(device), self.partition.count),
            classes=self.classes.to(device),
            groups=self.groups.to(device),
            group_images=self.group_images.to(device),
            cells_of_group=self.cells_of_group.to(device),
            blocks=self.blocks.to(device),
        )


def group_cells_of(source: Images, groups: Groups) -> GroupCells:
    """The group cells of a source set under its groups."""
    count = len(groups.names)
    pairs, ids = torch.unique(source.labels * count + groups.assignments, return_inverse=True)
    classes, of_group = pairs // count, pairs % count
    blocks = torch.zeros(count, dtype=torch.int64)
    if groups.within_class:
        blocks[of_group] = classes
    return GroupCells(
        partition=Partition(ids, len(pairs)),
        classes=classes,
        groups=of_group,
        group_images=torch.bincount(groups.assignments, minlength=count),
        cells_of_group=torch.bincount(of_group, minlength=count),
        blocks=blocks,
        block_count=len(source.class_names) if groups.within_class else 1,
    )


@dataclass(frozen=True, slots=True, eq=False)
class SplitCells:
    """The group cells of a risk split by domain into Q split cells that have real images."""

    partition: Partition  # (N,) split cell of each real image
    classes: Tensor  # (Q,) int64
    domains: Tensor  # (Q,) int64
    group_cells: Tensor  # (Q,) int64 in [0, P)
    of_group_cell: Tensor  # (Q,) float32, the share of its group cell's images
    of_cell: Tensor  # (Q,) float32, the share of its cell's images


def split_by_domain(source: Images, group_cells: GroupCells) -> SplitCells:
    """The split cells of the group cells of a source set, on the device of the group cells."""
    device, sources = group_cells.classes.device, len(source.domain_names)
    pairs, ids = torch.unique(group_cells.partition.ids.cpu() * sources + source.domains, return_inverse=True)
    of_split_cell, domains = pairs // sources, pairs % sources
    classes = group_cells.classes.cpu()[of_split_cell]
    sizes = torch.bincount(ids)
    of_group_cell = sizes / torch.bincount(group_cells.partition.ids.cpu())[of_split_cell]
    of_cell = sizes / source.counts()[classes, domains]
    tensors = (classes, domains, of_split_cell, of_group_cell, of_cell)
    return SplitCells(Partition(ids.to(device), len(pairs)), *(tensor.to(device) for tensor in tensors))
