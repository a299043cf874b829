"""Scores of trained baselines in the cache, an entry for each repeat and target, under all that they depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from dgdd_cli.config import Protocol
from dgdd_cli.evaluation.contestant import Contestant
from dgdd_cli.evaluation.groups import TargetGroups
from dgdd_cli.evaluation.metrics import Score
from dgdd_cli.evaluation.score_file import TargetFacts, read_score, write_score
from dgdd_cli.evaluation.targets import Target
from dgdd_cli.networks import foreign_weights
from dgdd_cli.runtime.software import software
from dgdd_cli.storage.cache import Cache, Key

EVALUATOR = 4  # to be raised whenever the same choices and facts train to other scores


@dataclass(frozen=True, slots=True)
class ScoreCache:
    """The cache, and what all scores of one evaluation have in common; `targets` by key, as compared.

    With `retrain` what is kept is not used, and replaced.
    """

    cache: Cache
    choices: Mapping[str, Any]
    facts: Mapping[str, Any]
    targets: Mapping[str, TargetFacts]
    retrain: bool = False

    def recall(self, contestant: Contestant, network: str, repeats: Iterable[int]) -> dict[int, Mapping[str, Score]]:
        """The kept scores of the repeats that have one for every target; nothing for a bundle."""
        if contestant.source is None or self.retrain:
            return {}
        found: dict[int, Mapping[str, Score]] = {}
        for repeat in repeats:
            scores = {}
            for name, target in self.targets.items():
                key = self._key(contestant, network, repeat, name)
                score = self.cache.get(key, partial(read_score, key=key, target=target))
                if score is None:
                    break
                scores[name] = score
            else:
                found[repeat] = scores
        return found

    def keep(self, contestant: Contestant, network: str, repeat: int, scores: Mapping[str, Score]) -> None:
        """Keep the scores of one repeat, unless they are a bundle's."""
        if contestant.source is None:
            return
        for name, score in scores.items():
            key = self._key(contestant, network, repeat, name)
            self.cache.put(key, partial(write_score, score=score, key=key, target=self.targets[name]), trim=False)
        self.cache.trim()

    def _key(self, contestant: Contestant, network: str, repeat: int, target: str) -> Key:
        own = self.targets[target]
        choices = {
            **self.choices,
            **own.choices,
            "baseline": contestant.method,
            "sources": list(contestant.sources),
            "images": contestant.images,
            "epochs": contestant.epochs,
            "mean": list(contestant.normalisation.mean),
            "std": list(contestant.normalisation.std),
            "network": network,
            "repeat": repeat,
        }
        if weights := foreign_weights(network, image_size=self.choices["image_size"]):
            choices["weights"] = weights
        if contestant.budget is not None:
            choices |= {"budget": contestant.budget, "pace": contestant.pace}
        facts = {**self.facts, **own.facts, "source": contestant.source}
        return Key("scores", f"the scores of {contestant.name} with {network}", choices, facts, ".json")


def common_choices(dataset: str, image_size: int, protocol: Protocol, seed: int, groups: str | None) -> dict[str, Any]:
    """What was asked for, whatever the baseline; the number of epochs is each baseline's own,
    whose pace is that of its images."""
    return {
        "dataset": dataset,
        "image_size": image_size,
        "protocol": protocol.model_dump(mode="json", exclude_none=True, exclude={"epochs", "whole_epochs", "pace"}),
        "seed": seed,
        "groups": groups,
    }


def common_facts(device: str) -> dict[str, Any]:
    """What every score further depends on: the device, the threads that share a sum, the software, this trainer."""
    return {"device": device, "threads": torch.get_num_threads(), "software": software(), "evaluator": EVALUATOR}


def target_facts(target: Target, groups: TargetGroups | None) -> TargetFacts:
    """What a score on this target depends on: its images as they are tested, and their groups."""
    none = torch.empty(0, dtype=torch.int64)
    members = none if groups is None else groups.members[target.name]
    return TargetFacts(
        choices={"target": target.name, "corruption": target.corruption},
        facts={
            "target": target.dataset.fingerprint(),
            "groups": None if groups is None else groups.digest(target.name),
        },
        class_sizes=target.dataset.counts().sum(1),
        group_sizes=torch.bincount(members, minlength=0 if groups is None else len(groups.names)),
        present=none if groups is None else groups.present(target.name),
    )
