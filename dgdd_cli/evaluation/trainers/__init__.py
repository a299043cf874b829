"""How a batch becomes a loss: one file a trainer, all with the signature of `trainer.Trainer`."""

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

__all__ = ["TRAINERS", "Trainer", "check_depth", "check_domains"]
