"""The settings of an evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dgdd_cli.config.settings import Name, NotNegative, Positive, Precision, Settings
from dgdd_cli.errors import UsageError

Tail = Annotated[float, Field(gt=0, le=1)]
Mixing = Annotated[float, Field(gt=0, le=1)]


class GroupDro(Settings):
    """Group DRO (Sagawa et al. 2020): `rate` η of the exponentiated weights of the domains."""

    rate: Positive = 0.01


class Cvar(Settings):
    """The mean over the worst `tail` share of a batch's losses; of 32 images the worst 6.4."""

    tail: Tail = 0.2


class Mixup(Settings):
    """Mixup (Zhang et al. 2018): λ ~ Beta(`alpha`, `alpha`), one a batch."""

    alpha: Mixing = 0.2


class Coral(Settings):
    """Deep CORAL (Sun & Saenko 2016) between domains: `weight` of the penalty beside the cross-entropy."""

    weight: Positive = 1.0


class MixStyle(Settings):
    """MixStyle (Zhou et al. 2021): acts on a batch with `probability`; λ ~ Beta(`alpha`, `alpha`), one an image."""

    probability: Annotated[float, Field(gt=0, le=1)] = 0.5
    alpha: Mixing = 0.1


TRAINER_TABLES = ("groupdro", "cvar", "mixup", "coral", "mixstyle")  # the trainers that have settings


class Protocol(Settings):
    """How a training set becomes an accuracy: the `dm` protocol (Zhao & Bilen 2023, section 4.1).

    SGD with one drop of the rate at half time, where the momentum starts afresh; the score is that of the last
    epoch. `whole_epochs` is used for the whole source set, which has far more steps in an epoch. `trainer` is the
    loss of a batch; its settings have a table of their own, which no other trainer takes. `loss_tail`: the CVaR of
    the test losses is their mean over this worst share. `precision`: what the networks compute in; `tf32` on CUDA.
    """

    name: Literal["dm"] = "dm"
    trainer: Name = "erm"
    groupdro: GroupDro | None = None
    cvar: Cvar | None = None
    mixup: Mixup | None = None
    coral: Coral | None = None
    mixstyle: MixStyle | None = None
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    whole_epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 30
    batch: Annotated[int, Field(ge=1)] = 32
    rate: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 5e-4
    drop: Annotated[float, Field(gt=0, le=1)] = 0.1
    augment: Name = "auto"
    width: Annotated[int, Field(ge=1, le=4096)] = 128
    precision: Precision = "float32"
    selection: Literal["last"] = "last"
    loss_tail: Tail = 0.1

    @model_validator(mode="before")
    @classmethod
    def _own_table(cls, values: Any) -> Any:
        """The trainer's own settings are there, with their defaults."""
        if isinstance(values, dict) and values.get("trainer") in TRAINER_TABLES:
            return {values["trainer"]: {}} | values
        return values

    @field_validator(*TRAINER_TABLES)
    @classmethod
    def _of_the_trainer(cls, table: Settings | None, info: ValidationInfo) -> Settings | None:
        trainer = info.data.get("trainer")
        if table is not None and trainer not in (info.field_name, None):
            raise UsageError(
                f"the settings {info.field_name}.* belong to the trainer {info.field_name!r}, not to {trainer!r}",
                hint=f"--trainer {info.field_name}",
            )
        return table

    @property
    def trainer_settings(self) -> Settings | None:
        """The table of the chosen trainer; None where it has no settings."""
        return getattr(self, self.trainer) if self.trainer in TRAINER_TABLES else None
