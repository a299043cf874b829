"""A whole evaluation: open the bundles, read the targets, add the baselines, compare, and write it all down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dgdd_cli.augment import for_dataset, parse
from dgdd_cli.bundle.read import Bundle, load_bundle
from dgdd_cli.config import Protocol
from dgdd_cli.data.hold_out import is_none, one_class, without_validation
from dgdd_cli.data.images import Images
from dgdd_cli.data.load import Located, Reading, locate, read_as
from dgdd_cli.data.locate import resolve_domains
from dgdd_cli.data.shared_images import check_shared
from dgdd_cli.errors import UnknownName, UsageError
from dgdd_cli.evaluation.compare import compare
from dgdd_cli.evaluation.contestant import Contestant
from dgdd_cli.evaluation.contestants import (
    baseline_contestant,
    bundle_contestant,
    bundle_normalisation,
    check_baselines,
)
from dgdd_cli.evaluation.corruptions import check_corruptions
from dgdd_cli.evaluation.groups import check_spec, groups_of
from dgdd_cli.evaluation.jpeg_images import jpeg_contestant
from dgdd_cli.evaluation.left_out import left_out_of, made_from
from dgdd_cli.evaluation.own_choices import check_classes, dataset_of, image_size_of, own_targets
from dgdd_cli.evaluation.record import record, summarise
from dgdd_cli.evaluation.score_cache import ScoreCache, common_choices, common_facts, target_facts
from dgdd_cli.evaluation.seen import compare_with_sources, report_compared, report_seen
from dgdd_cli.evaluation.targets import targets_of
from dgdd_cli.evaluation.together import choose_repeats
from dgdd_cli.evaluation.trainers import protocol_of, trainer_named
from dgdd_cli.networks import NETWORKS
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.precision import check_precision

log = logging.getLogger("dgdd")


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate and how; empty `targets`, or none, are the bundles' own, no `dataset` is the one they name."""

    bundles: Sequence[Bundle | str | Path]
    protocol: Protocol
    dataset: str | None = None
    data_dir: Path | None = None
    targets: Sequence[str] = ()
    networks: Sequence[str] = ("convnet",)
    baselines: Sequence[str] = ()
    groups: str | None = None
    corruptions: Sequence[str] = ()
    repeats: int = 5
    allow_missing_classes: bool = False
    allow_seen: bool = False
    retrain_baselines: bool = False
    reading: Reading = field(default_factory=Reading)


def evaluate_bundles(context: Context, request: Request) -> dict[str, Any]:
    """The document `dgdd.evaluate/1`. Raises UsageError and DataError before anything is trained."""
    for name in request.networks:
        if name not in NETWORKS:
            raise UnknownName("network", name, NETWORKS)
    trainer_named(request.protocol.trainer)
    check_baselines(request.baselines)
    check_corruptions(request.corruptions)
    if request.groups is not None:
        check_spec(request.groups)
        if any("validation" in text.casefold().split(",") for text in request.targets):
            raise UsageError(
                "--groups names groups of target domains, and validation is none", hint="leave --groups out"
            )
    check_precision(request.protocol.precision, context.device, setting="precision")
    given = dict.fromkeys(request.bundles)
    bundles = [bundle if isinstance(bundle, Bundle) else load_bundle(bundle) for bundle in given]
    located = locate(request.dataset or dataset_of(bundles), data_dir=request.data_dir)
    size = image_size_of(bundles)
    asked, validation = without_validation(located, request.targets)
    asked = [text for text in asked if not is_none(located, text)]
    names = [name for text in asked for name in resolve_domains(located, text)]
    names = names if names or validation else own_targets(bundles)
    asked_for = request.protocol.model_dump(exclude_none=True)
    protocol = protocol_of(**asked_for | {"augment": for_dataset(request.protocol.augment, located.name)})
    parse(protocol.augment)
    for bundle in bundles:
        check_classes(bundle, located.class_names, located.name)

    def load(domains: Sequence[str]) -> Images:
        return read_as(context, request.reading, located, image_size=size, domains=domains)

    targets = targets_of(
        names,
        load,
        corruptions=request.corruptions,
        seed=context.seed,
        allow_missing_classes=request.allow_missing_classes,
        validation=left_out_of(bundles, load) if validation else None,
    )
    clean = {target.name: target.dataset for target in targets if target.corruption is None}
    groups = None if request.groups is None else groups_of(context, request.groups, clean)
    for line in one_class(targets[0].dataset):
        log.warning("%s", line)
    contestants = [bundle_contestant(bundle, protocol) for bundle in bundles]
    sources = _sources(bundles, located, load) if request.baselines else {}
    contestants += _baselines(context, request, protocol, bundles, sources)

    def load_once(domains: Sequence[str]) -> Images:
        read = next((source for source in sources.values() if set(domains) <= set(source.domain_names)), None)
        return load(domains) if read is None else read.only(domains)

    seen = compare_with_sources(contestants, targets, located, load_once)
    report_seen(seen, targets, contestants, allow_seen=request.allow_seen)
    kept = None
    if context.cache is not None and request.baselines:
        kept = ScoreCache(
            cache=context.cache,
            choices=common_choices(located.name, size, protocol, context.seed, request.groups),
            facts=common_facts(context.device.type),
            targets={target.key: target_facts(target, groups) for target in targets},
            retrain=request.retrain_baselines,
        )
    results = compare(
        context,
        contestants,
        {target.key: target.dataset for target in targets},
        networks=request.networks,
        repeats=request.repeats,
        protocol=protocol,
        groups=None if groups is None else {target.key: groups.members[target.name] for target in targets},
        num_groups=0 if groups is None else len(groups.names),
        kept=kept,
    )
    report_compared(seen, contestants)
    by_key = {target.key: target for target in targets}
    records = [
        record(
            result,
            by_key[result.target],
            tail=protocol.loss_tail,
            seen=seen[result.contestant.name, by_key[result.target].name],
            groups=groups,
        )
        for result in results
    ]
    document = {
        "schema": "dgdd.evaluate/1",
        "dataset": located.name,
        "image_size": size,
        "protocol": protocol.model_dump(mode="json", exclude_none=True),
        "repeats": request.repeats,
        "seed": context.seed,
        "device": {
            "type": context.device.type,
            "name": context.chosen.name,
            "reason": context.chosen.reason,
            "repeats": {
                name: asdict(choose_repeats(name, protocol, context.device, request.repeats, image_size=size))
                for name in request.networks
            },
        },
        "results": records,
        "summary": summarise(records),
    }
    skipped = [{"file": name, "reason": reason} for dataset in clean.values() for name, reason in dataset.skipped_files]
    if skipped:
        document["skipped_files"] = skipped
    return document if groups is None else document | {"groups": {"spec": groups.spec, "files": dict(groups.files)}}


def _sources(
    bundles: Sequence[Bundle], located: Located, load: Callable[[Sequence[str]], Images]
) -> dict[tuple[str, ...], Images]:
    """The images that the bundles were made from, as they are at hand, by the domains' names."""
    found: dict[tuple[str, ...], Images] = {}
    for bundle in bundles:
        manifest = bundle.manifest
        if manifest.domains not in found:
            found[manifest.domains] = load(manifest.domains)
            for line in check_shared(found[manifest.domains]):
                log.warning("%s", line)
        if found[manifest.domains].fingerprint() != manifest.source.fingerprint:
            log.warning("%s was distilled from another copy of %s than the baselines use", bundle.path, located.name)
    return found


def _baselines(
    context: Context,
    request: Request,
    protocol: Protocol,
    bundles: Sequence[Bundle],
    sources: Mapping[tuple[str, ...], Images],
) -> list[Contestant]:
    """Each baseline once for every source set and budget among the bundles."""
    found: dict[str, Contestant] = {}
    for bundle in bundles if request.baselines else ():
        whole = sources[bundle.manifest.domains]
        source, left_out = made_from(bundle, whole)
        common: dict[str, Any] = {
            "normalisation": bundle_normalisation(bundle),
            "protocol": protocol,
            "left_out": left_out,
            "fingerprints": whole.domain_fingerprints(),
        }
        for name in request.baselines:
            if name == "random-jpeg":
                contestant = jpeg_contestant(context, source, bundle, repeats=request.repeats, **common)
            else:
                contestant = baseline_contestant(context, name, source, ipc=bundle.manifest.images.ipc, **common)
            found.setdefault(contestant.name, contestant)
    return list(found.values())
