"""A study: every recipe on every target with every seed, through one cache, resumed cell by cell."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgdd_cli.api.distill import distill
from dgdd_cli.api.evaluate import evaluate
from dgdd_cli.bundle.read import Bundle, load_bundle
from dgdd_cli.data.load import locate
from dgdd_cli.data.locate import resolve_domain
from dgdd_cli.engine.checkpoint import checkpoint_path
from dgdd_cli.errors import DataError, DgddError, Interrupted, UsageError
from dgdd_cli.progress import Progress, silent
from dgdd_cli.runtime.identity import differences, flat
from dgdd_cli.storage.atomic import write_atomically
from dgdd_cli.storage.reserve import reserved
from dgdd_cli.studies.plan import Plan, cell_path, recipes_of, record_path
from dgdd_cli.studies.report import markdown, results_of

log = logging.getLogger("dgdd")


@dataclass(frozen=True, slots=True)
class Study:
    """The results as plain values, the same as tables, and the cells that failed: (recipe, target, seed) to why."""

    document: Mapping[str, Any]
    markdown: str
    failed: Mapping[tuple[str, str, int], str]


def study(
    dataset: str | Path,
    *,
    recipes: Sequence[str] | Mapping[str, Mapping[str, Any]],
    out: str | Path,
    targets: Sequence[str] | None = None,
    seeds: int | Sequence[int] = 3,
    ipc: int = 10,
    image_size: int = 32,
    repeats: int = 3,
    baselines: Sequence[str] = ("random", "random-jpeg", "whole"),
    epochs: int | None = None,
    evaluation: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    cache_dir: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Study:
    """Distil every recipe for every target and seed, and evaluate those of one target and seed together.

    `recipes`: names of methods, or keywords of `distill` by a name, e.g. {"sgs tiles": {"method": "sgs", "factor": 2}}.
    `targets`: all domains, unless named. `evaluation`: `settings` of `evaluate`. Bundles, records, `results.json` and
    `results.md` lie in `out`. Called again, it does what is missing; what failed is tried again, and the other cells go
    on. `progress` hears of cells under the stage `study`. Raises UsageError for a folder of another study, naming the
    keys that differ, and while another process works in it.
    """
    data_dir = None if data is None else Path(data)
    located = locate(str(dataset.absolute()) if isinstance(dataset, Path) else dataset, data_dir=data_dir)
    plan = Plan(
        dataset=located.name,
        recipes=recipes_of(recipes),
        targets=tuple(resolve_domain(located, name) for name in targets or located.domain_names),
        seeds=tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
        ipc=ipc,
        image_size=image_size,
        repeats=repeats,
        baselines=tuple(baselines),
        protocol={**(evaluation or {}), **({} if epochs is None else {"epochs": epochs})},
    )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with reserved(folder / "study.json"):
        _keep_plan(folder / "study.json", plan)
        where = {"data": data, "cache_dir": cache_dir, "device": device}
        return _run(plan, dataset, folder, where, progress)


def _run(plan: Plan, dataset: str | Path, folder: Path, where: Mapping[str, Any], progress: Progress) -> Study:
    total = len(plan.targets) * len(plan.seeds) * (len(plan.recipes) + 1)  # and an evaluation
    done, records, failed = 0, {}, {}
    progress("study", 0, total)

    def advance(cells: int = 1) -> None:
        nonlocal done
        done += cells
        progress("study", done, total)

    for seed in plan.seeds:
        for target in plan.targets:
            bundles: dict[str, Bundle] = {}
            for name in plan.recipes:
                try:
                    bundles[name] = _bundle(plan, dataset, folder, where, name, target, seed)
                except Interrupted:
                    raise
                except DgddError as problem:
                    failed[name, target, seed] = problem.message
                    log.warning("%s on %s, seed %d failed: %s", name, target, seed, problem.message)
                advance()
            if bundles:
                try:
                    records[target, seed] = _record(plan, dataset, folder, where, bundles, target, seed)
                except Interrupted:
                    raise
                except DgddError as problem:
                    failed |= {(name, target, seed): problem.message for name in bundles}
                    log.warning("evaluating on %s, seed %d failed: %s", target, seed, problem.message)
            advance()
    document = results_of(plan, records, failed)
    _keep(folder / "results.json", json.dumps(document, indent=1, sort_keys=True) + "\n")
    tables = markdown(document)
    _keep(folder / "results.md", tables)
    return Study(document, tables, failed)


def _bundle(
    plan: Plan, dataset: str | Path, folder: Path, where: Mapping[str, Any], name: str, target: str, seed: int
) -> Bundle:
    path = cell_path(folder, plan, name, target, seed)
    if path.exists():
        try:
            return load_bundle(path)
        except DataError as problem:
            log.warning("%s; distilled again", problem.message)
            path.unlink()
    keys = plan.recipes[name]
    return distill(
        dataset,
        **keys,
        ipc=plan.ipc,
        image_size=plan.image_size,
        target=target,
        seed=seed,
        out=path,
        resume=checkpoint_path(path).exists(),
        **where,
    )


def _record(
    plan: Plan,
    dataset: str | Path,
    folder: Path,
    where: Mapping[str, Any],
    bundles: Mapping[str, Bundle],
    target: str,
    seed: int,
) -> list[dict[str, Any]]:
    """The rows of the evaluation of one target and seed, those of bundles under the names of their recipes."""
    path = record_path(folder, plan, target, seed, [bundle.manifest.id for bundle in bundles.values()])
    if path.exists():
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            log.warning("%s is damaged; evaluated again", path)
    protocol = dict(plan.protocol)
    results = evaluate(
        list(bundles.values()),
        target=target,
        dataset=str(dataset),
        repeats=plan.repeats,
        baseline=plan.baselines,
        epochs=protocol.pop("epochs", None),
        settings=protocol,
        seed=seed,
        **where,
    )
    names = {str(bundle.path): name for name, bundle in bundles.items()}
    rows = [dict(result.document) for result in results]
    rows = [row | {"recipe": names.get(row["name"], row["method"])} for row in rows]
    _keep(path, json.dumps(rows, indent=1, sort_keys=True) + "\n")
    return rows


def _keep_plan(path: Path, plan: Plan) -> None:
    now = json.loads(json.dumps(plan.document()))
    if path.exists():
        try:
            was = json.loads(path.read_text(encoding="utf-8"))
            differing = differences(dict(flat(was)), dict(flat(now)))
        except (ValueError, AttributeError) as error:
            raise DataError(f"{path} is no plan of a study", hint="name another folder: out=...") from error
        growing = {"seeds", "targets"}  # a study may grow
        if [line for line in differing if line.split()[0] not in growing]:
            raise UsageError(
                f"{path.parent} holds another study: {'; '.join(differing)}", hint="name another folder: out=..."
            )
    _keep(path, json.dumps(now, indent=1, sort_keys=True) + "\n")


def _keep(path: Path, text: str) -> None:
    write_atomically(path, text.encode(), overwrite=True)
