"""From a dataset to groups of images that look alike: features, K-means, and how the groups relate to what is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dgdd_cli.data.images import Images
from dgdd_cli.errors import DataError, UsageError
from dgdd_cli.groups.features import Features, describe, features_of
from dgdd_cli.groups.merge import merge_small
from dgdd_cli.groups.purity import purity
from dgdd_cli.groups.silhouette import distances, sample_rows, silhouette_within
from dgdd_cli.risk.kmeans import kmeans
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.precision import computing_in
from dgdd_cli.text import plural

Per = Literal["all", "class"]
PRECISION = "float32"  # of features and distances
AUTO_RANGE = range(2, 11)  # the numbers of groups that `auto` compares


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """G groups of N images in F features; a group of `per="class"` holds images of one class, `group_classes[g]`.

    silhouette: of the groups within all images, or the mean over classes weighted by their images; None where no two
    groups can be compared. purity: share of images in their group's most frequent class or domain.
    """

    assignments: Tensor  # (N,) int64 in [0, G)
    centroids: Tensor  # (G, F) float32
    group_classes: Tensor | None  # (G,) int64
    sizes: Tensor  # (G,) int64
    features: str  # in words, for the record
    silhouette: float | None
    purity_class: float
    purity_domain: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Subset:
    """Images that are grouped together: all, or those of one class."""

    label: int | None
    name: str
    rows: Tensor  # (n,) int64


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The groups of one subset; `missing` groups could not be formed, `given_up` had under `minimum` images."""

    assignments: Tensor  # (n,) int64
    centroids: Tensor  # (K, F)
    silhouette: float | None
    missing: int
    given_up: int
    minimum: int


@computing_in(PRECISION, torch.device("cpu"))
def group_dataset(
    context: Context,
    dataset: Images,
    *,
    groups: int | Literal["auto"],
    features: Features = "pixels",
    per: Per = "all",
    minimum: int | Callable[[int], int] = 1,
) -> Grouping:
    """K-means groups of all images, or `groups` of them within each class, on the CPU; the seed decides them.

    `auto` takes the number from 2 to 10 with the largest silhouette, the smaller one where two tie, for each class by
    itself. Groups below `minimum` images, a number or a function of how many images are grouped together, are merged
    into the nearest (of the same class). Raises UsageError for more groups than images and for numbers below 1,
    DataError for a dataset without images.
    """
    if isinstance(minimum, int) and minimum < 1:
        raise UsageError(f"the smallest group cannot have {plural(minimum, 'image')}", hint="--minimum 5")
    if len(dataset) == 0:
        raise DataError(f"{dataset.name} has no images to group")
    subsets = _subsets(dataset, per)
    if groups != "auto":
        _check_number(groups, subsets)
    vectors = features_of(context, dataset, features)

    numbers = [_candidates(groups, len(subset.rows)) for subset in subsets]
    ticks, total = itertools.count(1), sum(map(len, numbers))
    context.progress("grouping", 0, total)
    found = [
        _cluster(
            context,
            vectors[subset.rows],
            own,
            subset,
            minimum if isinstance(minimum, int) else minimum(len(subset.rows)),
            lambda: context.progress("grouping", next(ticks), total),
        )
        for subset, own in zip(subsets, numbers, strict=True)
    ]
    assignments = torch.empty(len(dataset), dtype=torch.int64)
    count = 0
    for subset, own in zip(subsets, found, strict=True):
        assignments[subset.rows] = own.assignments + count
        count += len(own.centroids)
    return Grouping(
        assignments=assignments,
        centroids=torch.cat([own.centroids for own in found]),
        group_classes=_classes(subsets, found) if per == "class" else None,
        sizes=torch.bincount(assignments, minlength=count),
        features=describe(dataset, features),
        silhouette=_weighted([(own.silhouette, len(own.assignments)) for own in found]),
        purity_class=purity(assignments, dataset.labels),
        purity_domain=purity(assignments, dataset.domains),
        notes=tuple(_notes(dataset, subsets, found, per)),
    )


def smallest_group(count: int) -> int:
    """The fewest images of a group in a class of `count`: 0.5 % of them, at least 25 (after Sohoni et al. 2020)."""
    return max(-(-count // 200), 25)


def smallest_where_splittable(count: int) -> int:
    """`smallest_group`, but 1 in a class that is too small for two groups of that size."""
    least = smallest_group(count)
    return least if count >= 2 * least else 1


def _cluster(
    context: Context,
    points: Tensor,
    numbers: Sequence[int],
    subset: _Subset,
    minimum: int,
    tick: Callable[[], None],
) -> _Found:
    """The best by silhouette of K-means with each of the numbers of groups, the earlier one where two tie."""
    rows = sample_rows(len(points), context.stream("cluster", "silhouette", subset.name))
    between = distances(points[rows])
    best: _Found | None = None
    for number in numbers:
        means = kmeans(points, number, context.stream("cluster", "kmeans", subset.name, number))
        merged = merge_small(means.assignments, means.centroids, minimum)
        score = silhouette_within(between, merged.assignments[rows])
        missing = number - len(means.centroids)
        found = _Found(merged.assignments, merged.centroids, score, missing, merged.given_up, minimum)
        if best is None or (score is not None and (best.silhouette is None or score > best.silhouette)):
            best = found
        tick()
    assert best is not None
    return best


def _candidates(groups: int | Literal["auto"], count: int) -> list[int]:
    return [groups] if groups != "auto" else [k for k in AUTO_RANGE if k < count] or [1]


def _classes(subsets: list[_Subset], found: list[_Found]) -> Tensor:
    labels = torch.tensor([subset.label for subset in subsets], dtype=torch.int64)
    return labels.repeat_interleave(torch.tensor([len(own.centroids) for own in found]))


def _weighted(scores: list[tuple[float | None, int]]) -> float | None:
    known = [(score, weight) for score, weight in scores if score is not None]
    return sum(s * w for s, w in known) / sum(w for _, w in known) if known else None


def _subsets(dataset: Images, per: Per) -> list[_Subset]:
    if per == "all":
        return [_Subset(None, "the dataset", torch.arange(len(dataset)))]
    rows = [(dataset.labels == c).nonzero().squeeze(1) for c in range(len(dataset.class_names))]
    names = [f"class {name!r}" for name in dataset.class_names]
    return [_Subset(c, name, own) for c, (name, own) in enumerate(zip(names, rows, strict=True)) if len(own)]


def _check_number(groups: int, subsets: list[_Subset]) -> None:
    if groups < 1:
        raise UsageError(f"{groups} groups are not possible", hint="--groups 10, or --groups auto")
    smallest = min(subsets, key=lambda subset: len(subset.rows))
    if groups > len(smallest.rows):
        count = len(smallest.rows)
        raise UsageError(
            f"{groups} groups are more than the {plural(count, 'image')} of {smallest.name}",
            hint=f"--groups {count} or fewer, or --groups auto",
        )


def _notes(dataset: Images, subsets: list[_Subset], found: list[_Found], per: Per) -> Iterator[str]:
    if per == "class":
        for c in (dataset.counts().sum(1) == 0).nonzero().squeeze(1).tolist():
            yield f"class {dataset.class_names[c]!r} has no images and gets no group"
    for subset, own in zip(subsets, found, strict=True):
        if own.missing:
            yield f"{subset.name}: {plural(own.missing, 'group')} fewer, because it has too few different images"
    merged = [own for own in found if own.given_up]
    if merged:
        limits = sorted({own.minimum for own in merged})
        limit = f"{limits[0]}" if len(limits) == 1 else f"{limits[0]} to {limits[-1]} (by class)"
        total = sum(own.given_up for own in merged)
        done = "was merged into its neighbour" if total == 1 else "were merged into their neighbours"
        yield f"{plural(total, 'group')} with fewer than {limit} images {done}"
    if all(len(own.centroids) == 1 for own in found):
        what = "class is one group" if per == "class" else "image is in one group"
        yield f"every {what}: a risk over {'the groups of a class' if per == 'class' else 'groups'} is the mean"
