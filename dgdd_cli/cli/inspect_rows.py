"""What a bundle and a groups file hold, as names and values for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dgdd_cli.text import plural

if TYPE_CHECKING:
    from dgdd_cli.bundle.manifest import Manifest
    from dgdd_cli.bundle.read import Bundle
    from dgdd_cli.groups.file import GroupsFile

Rows = list[tuple[str, object]]


def per_domain(bundle: Bundle) -> dict[str, int]:
    """Training images by domain, those of several under `mixed`."""
    names = [*bundle.manifest.domains, "mixed"]
    counts = dict.fromkeys(names, 0)
    for domain in bundle.labelled().domains.tolist():
        counts[names[domain]] += 1
    if "mixed" not in bundle.manifest.domains and not counts["mixed"]:
        del counts["mixed"]
    return counts


def bundle_rows(bundle: Bundle, counts: Mapping[str, int]) -> Rows:
    """What a bundle's manifest says, and `counts`, its training images by domain."""
    from dgdd_cli.bundle.decoding import synthesis_in_words

    m = bundle.manifest
    one = "image" if len(bundle.images) == len(bundle) else "training image"
    counted = sum(sum(classes.values()) for classes in m.source.counts.values())
    return [
        ("id", m.id),
        ("method", m.method.name),
        *((f"  {key}", value) for key, value in _flat(m.method.settings)),
        ("images", f"{m.images.count}, {m.images.ipc} per class, {m.images.height} x {m.images.width} pixels"),
        ("stored as", synthesis_in_words(m) or "pixels"),
        ("bytes", f"{bundle.training_bytes:,} to train on, images {m.codec or 'raw'}"),
        ("classes", f"{len(m.classes)}: {_listed(m.classes)}"),
        ("sources", ", ".join(f"{name} ({plural(count, one)})" for name, count in counts.items())),
        ("target", m.target or "none held out"),
        ("validation", _validation(m)),
        ("seed", m.seed),
        ("steps", m.steps),
        ("normalise", f"mean {_figures(m.normalise.mean)}, std {_figures(m.normalise.std)} ({m.normalise.origin})"),
        ("soft labels", "no" if bundle.soft_labels is None else bundle.labelled().labels.kind),
        ("groups", "yes" if bundle.groups is not None else "no"),
        ("software", ", ".join(f"{name} {version}" for name, version in m.software.items())),
        ("device", f"{m.device.type} ({m.device.name})"),
        ("dataset", f"{m.source.dataset}, {plural(counted, 'image')}" if counted else m.source.dataset),
        ("fingerprint", m.source.fingerprint),
        ("licence", m.source.licence),
        ("citation", m.source.citation),
    ]


def _validation(m: Manifest) -> str:
    if m.validation is None:
        return "no images left out"
    return f"{plural(m.validation.images, 'image')} left out, {m.validation.share:g} of every source cell"


def groups_rows(file: GroupsFile) -> Rows:
    """What a groups file's manifest says."""
    m = file.manifest
    return [
        ("id", m.id),
        ("dataset", f"{m.dataset}, {plural(len(file), 'image')} at {m.image_size} pixels"),
        ("groups", f"{m.groups}, found " + ("within each class" if m.per == "class" else "over the whole set")),
        ("sizes", f"{min(m.sizes):,} to {max(m.sizes):,}: {_listed([f'{size:,}' for size in m.sizes])}"),
        ("features", f"{m.features}, {plural(file.centroids.shape[1], 'number')} an image"),
        ("silhouette", "not measured" if m.silhouette is None else f"{m.silhouette:.3f}"),
        ("purity", f"{m.purity_class:.3f} by class, {m.purity_domain:.3f} by domain"),
        ("classes", f"{len(m.classes)}: {_listed(m.classes)}"),
        ("domains", ", ".join(m.domains)),
        ("seed", m.seed),
        ("software", ", ".join(f"{name} {version}" for name, version in m.software.items())),
        ("fingerprint", m.fingerprint),
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as dotted keys."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "none" if value is None else value


def _listed(names: tuple[str, ...] | list[str], most: int = 20) -> str:
    more = f" ... and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _figures(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
