"""How a batch becomes a loss: one file and one entry a trainer, each as `trainer.Trainer` says."""

from typing import Any

from pydantic import create_model

from dgdd_cli.config import Protocol, validate
from dgdd_cli.errors import UnknownName, UsageError
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


def trainer_of(protocol: Protocol) -> tuple[Trainer, Any]:
    """The trainer of a protocol and its settings, the defaults where the protocol has no table of them."""
    trainer, table = trainer_named(protocol.trainer), getattr(protocol, protocol.trainer, None)
    if trainer.settings is None:
        return trainer, None
    return trainer, table if isinstance(table, trainer.settings) else trainer.settings()


def protocol_of(**values: Any) -> Protocol:
    """A protocol with its trainer's table, by the trainer's own model and with its defaults.

    A number of epochs that is asked for is one of the training images (`pace`), unless that is said too. Raises
    UnknownName and UsageError: for a key, a value, or the table of another trainer.
    """
    if values.get("epochs") is not None:
        values = {"pace": "training"} | values
    tables = {name: trainer.settings for name, trainer in TRAINERS.items() if trainer.settings is not None}
    chosen = values.get("trainer", Protocol.model_fields["trainer"].default)
    for name in tables:
        if name != chosen and values.get(name) is not None:
            raise UsageError(
                f"the settings {name}.* belong to the trainer {name!r}, not to {chosen!r}", hint=f"--trainer {name}"
            )
    fields: dict[str, Any] = {name: (model | None, None) for name, model in tables.items()}
    model: type[Protocol] = create_model("Protocol", __base__=Protocol, **fields)
    return validate(model, ({chosen: {}} if chosen in tables else {}) | values, origin="the protocol")


__all__ = ["TRAINERS", "Trainer", "protocol_of", "trainer_named", "trainer_of"]
