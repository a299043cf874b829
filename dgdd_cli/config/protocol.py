"""The settings of an evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dgdd_cli.config.settings import Name, NotNegative, Positive, Precision, Settings


class Protocol(Settings):
    """How a training set becomes an accuracy: the `dm` protocol (Zhao & Bilen 2023, section 4.1).

    `pace`: whose epochs they are where a stored image decodes to several: `stored`, as many optimiser steps as the
    stored images alone would make; `training`, every training image once an epoch. SGD with one drop of the rate at
    half time, where the momentum starts afresh; the score is that of the last epoch. `whole_epochs` is used for the
    whole source set, which has far more steps in an epoch. `trainer` is the loss of a batch; where it has settings, a
    protocol with it has a table of that name (evaluation/trainers). `loss_tail`: the CVaR of the test losses is their
    mean over this worst share. `precision`: what the networks compute in; `tf32` on CUDA.
    """

    name: Literal["dm"] = "dm"
    trainer: Name = "erm"
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    whole_epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 30
    pace: Literal["stored", "training"] = "stored"
    batch: Annotated[int, Field(ge=1)] = 32
    rate: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 5e-4
    drop: Annotated[float, Field(gt=0, le=1)] = 0.1
    augment: Name = "auto"
    width: Annotated[int, Field(ge=1, le=4096)] = 128
    precision: Precision = "float32"
    selection: Literal["last"] = "last"
    loss_tail: Annotated[float, Field(gt=0, le=1)] = 0.1
