"""The repeats of one contestant with one network, trained together or one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dgdd_cli.config import Protocol
from dgdd_cli.evaluation.contestant import Contestant, TrainingSet
from dgdd_cli.evaluation.feed import Chance
from dgdd_cli.evaluation.together import Repeats, train_together
from dgdd_cli.evaluation.train import train
from dgdd_cli.networks import Backbone, build, normalised_by
from dgdd_cli.runtime.context import Context


def trainings(
    context: Context,
    contestant: Contestant,
    name: str,
    repeats: Sequence[int],
    how: Repeats,
    protocol: Protocol,
    *,
    num_classes: int,
    tick: Callable[[int], None],
) -> Iterator[tuple[int, Backbone]]:
    """Each repeat with its trained network. `tick` hears of the images that were seen, by epochs.

    Repeat r starts from weights, batches and augmentations that depend on the seed, the network and r alone.
    """
    together = how.mode == "together" and len(repeats) > 1
    sets: dict[int, TrainingSet] = {}  # on the device, by the repeat that drew it
    for part in [list(repeats)] if together else [[repeat] for repeat in repeats]:
        keys = [0 if contestant.fixed else repeat for repeat in part]  # repeats of one key share one set
        sets = {key: sets.get(key) or contestant.draw(key).to(context.device) for key in dict.fromkeys(keys)}
        networks = [
            build(
                name,
                num_classes=num_classes,
                image_size=sets[keys[0]].images.image_size,
                generator=context.stream("evaluation", name, repeat, "network"),
                width=protocol.width,
            ).to(context.device)
            for repeat in part
        ]
        normalisation = normalised_by(networks[0], contestant.normalisation)
        chances = [
            Chance(*(context.stream("evaluation", name, repeat, use) for use in ("training", "trainer")))
            for repeat in part
        ]

        def epoch_done(epoch: int, seen: int = len(part) * contestant.pace) -> None:
            tick(seen)

        if together:
            train_together(
                networks,
                list(sets.values()),
                protocol,
                normalisation,
                chances,
                num_domains=len(contestant.sources),
                epochs=contestant.epochs,
                pace=contestant.pace,
                of=[list(sets).index(key) for key in keys],
                tick=epoch_done,
            )
        else:
            train(
                networks[0],
                sets[keys[0]],
                protocol,
                normalisation,
                chances[0],
                num_domains=len(contestant.sources),
                epochs=contestant.epochs,
                pace=contestant.pace,
                tick=epoch_done,
            )
        yield from zip(part, networks, strict=True)
