"""How a batch becomes a loss: one file a trainer, all with the signature of `trainer.Trainer`."""

from dgdd_cli.errors import UnknownName
from dgdd_cli.evaluation.trainers.check import check_depth, check_domains
from dgdd_cli.evaluation.trainers.coral import CORAL
from dgdd_cli.evaluation.trainers.cvar import CVAR
from dgdd_cli.evaluation.trainers.erm import ERM
from dgdd_cli.evaluation.trainers.groupdro import GROUPDRO
from dgdd_cli.evaluation.trainers.mixstyle import MIXSTYLE
from dgdd_cli.evaluation.trainers.mixup import MIXUP
from dgdd_cli.evaluation.trainers.trainer import Trainer

TRAINERS: dict[str, Trainer] = {
    "erm": ERM,
    "groupdro": GROUPDRO,
    "cvar": CVAR,
    "mixup": MIXUP,
    "coral": CORAL,
    "mixstyle": MIXSTYLE,
}


def trainer_named(name: str) -> Trainer:
    """The trainer of that name; raises UnknownName with the near matches."""
    if name not in TRAINERS:
        raise UnknownName("trainer", name, TRAINERS)
    return TRAINERS[name]


__all__ = ["TRAINERS", "Trainer", "check_depth", "check_domains", "trainer_named"]
