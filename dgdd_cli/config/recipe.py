"""The settings of a distillation: the parts that a recipe composes a method from, and the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, model_validator

from dgdd_cli.config.settings import Name, NotNegative, Positive, Precision, Settings
from dgdd_cli.text import canonical_json


class Initialisation(Settings):
    """Which real images the synthetic set starts from; with no matching, they are the result."""

    name: Literal["random", "balanced-random", "kmeans"] = "balanced-random"


class Registered(Settings):
    """The name of something in a registry, with settings that it knows itself: values that a manifest can hold."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    name: Name

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="after")
    def _fits_a_manifest(self) -> Self:
        canonical_json(self.settings)
        return self


class Synthesis(Registered):
    """The parameterisation: what is stored in the place of images and decodes to them (see
    synthesis/parameterisation.py).

    `factor` f alone means tiles: f x f training images in each stored one; a factor of 1 is pixels.
    """

    name: Name = "pixels"

    @model_validator(mode="before")
    @classmethod
    def _factor_alone(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "factor" not in values or values.get("name", "tiles") != "tiles":
            return values
        rest = {key: value for key, value in values.items() if key not in ("name", "factor")}
        factor = values["factor"]
        single = type(factor) is int and factor == 1
        return rest | ({"name": "pixels"} if single else {"name": "tiles", "factor": factor})


class Labelling(Registered):
    """Who says what the training images are taught, once they are made (see synthesis/labelling.py)."""

    name: Name = "hard"


class Matching(Settings):
    """The objective and how the source domains weigh in it: by their share of the images, or equally.

    `name` is `gradient`, which matches the gradients that a network's parameters get from real and synthetic images and
    draws its real images in batches (`equal`: evenly from the domains), or an objective on features: `dm` matches their
    means, `mmd` their whole distribution by samples (see matching/__init__.py). A risk takes the place of the weights.
    `readout`: what an objective calls the features of an image (see matching/readout.py).
    """

    name: Name = "dm"
    readout: Name = "features"
    weights: Literal["share", "equal"] = "equal"


class Probes(Settings):
    """The random networks that images are compared through.

    `augment`: the operations of DSA, or `auto`: all that keep the classes what they are.
    `source`: `fresh` draws a network and `batch` real images of each cell at every step; `bank:K` holds K networks
    with the exact statistics of the whole source set. Gradient matching draws `batch` images of each class, at random
    or as the representatives of K-means clusters (`select`); an objective that
    needs samples (mmd) holds `reservoir` of each cell. `width`: channels of the ConvNet. `precision`: what the networks
    compute in (`tf32`: on CUDA alone; `bfloat16`: of networks that never train); features are averaged and compared in
    float32 or wider.
    """

    source: Annotated[str, StringConstraints(pattern=r"^(fresh|bank:[1-9][0-9]{0,5})$")] = "bank:20"
    batch: Annotated[int, Field(ge=1)] = 64
    select: Literal["random", "kmeans"] = "random"
    reservoir: Annotated[int, Field(ge=2, le=100_000)] | None = None
    network: Name = "convnet"
    width: Annotated[int, Field(ge=1, le=4096)] = 128
    augment: Name = "auto"
    precision: Precision = "float32"

    @property
    def bank_size(self) -> int | None:
        return int(self.source.partition(":")[2]) if self.source.startswith("bank:") else None


class Trajectory(Settings):
    """The life of a network in gradient matching (Zhao et al. 2021, algorithm 1): matched `length` times, and trained
    for `inner` SGD steps on batches of `data` between two matchings."""

    length: Annotated[int, Field(ge=1, le=10_000)] = 10
    inner: Annotated[int, Field(ge=0, le=10_000)] = 10
    data: Literal["synthetic", "real"] = "synthetic"
    batch: Annotated[int, Field(ge=1)] = 64
    rate: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5


class Risk(Settings):
    """How the losses of groups become one (arXiv 2402.04676): instead of their average.

    `groups`: domain, class-domain, kmeans:K (within each class, by pixels) or a file of `dgdd cluster`. `cvar` is the
    mean over the worst `tail` share of the groups; `cvar-within` the mean over groups of the CVaR inside each;
    `mean-max` the paper's mean plus maximum of those; `group-dro` weighs groups by exp(η·loss), accumulated over the
    steps (`rate` η, `adjustment` C adds C/√n to the loss of a group of n images). Numbers that are not given take the
    defaults of the risk that reads them (see methods/complete.py).
    """

    name: Literal["mean", "cvar", "cvar-within", "mean-max", "group-dro"]
    groups: Name = "domain"
    tail: Annotated[float, Field(gt=0, le=1)] | None = None
    rate: Positive | None = None
    adjustment: NotNegative | None = None


class Surgery(Settings):
    """Spectral gradient surgery: update = g + `shared`·g_sh + `diversity`·g_div (design of SGS, arXiv 2605.18836).

    `power` is the exponent of the agreement in the shared spectrum; `pool` what the coherence is pooled over.
    """

    name: Literal["spectral"] = "spectral"
    shared: NotNegative = 1.0
    diversity: NotNegative = 1.0
    power: NotNegative = 1.0
    pool: Literal["bin", "image", "class"] = "class"


class Optimiser(Settings):
    """Projected SGD on the pixels in [0, 1]; the rate is per image: the step uses image_rate · IPC / 10.

    `decay`: the rate falls linearly to 0 over the run (`linear`), or stays (`none`, as published).
    """

    steps: Annotated[int, Field(ge=0, le=10_000_000)] = 200
    image_rate: Positive = 0.3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    decay: Literal["linear", "none"] = "linear"


class Recipe(Settings):
    """One method, complete. Without `matching` the initialisation is the method, and there is nothing to step."""

    initialisation: Initialisation = Initialisation()
    synthesis: Synthesis = Synthesis()
    labels: Labelling = Labelling()
    matching: Matching | None = None
    probes: Probes | None = None
    trajectory: Trajectory | None = None
    risk: Risk | None = None
    surgery: Surgery | None = None
    optimiser: Optimiser | None = None


class Distillation(Settings):
    """A whole distillation run: what, for which target, how many, how.

    `domains`: a file of `dgdd cluster` whose groups serve as the source domains, where the true ones are not known.
    `codec`: what the stored images are encoded by, `raw`, `png` or `webp:Q` (see synthesis/codec.py).
    `validation`: the share of every source cell that is left out, for `evaluate --target validation`.
    """

    dataset: Name
    target: Name | None = None
    ipc: Annotated[int, Field(ge=1, le=100_000)] = 10
    image_size: Annotated[int, Field(ge=8, le=1024)] = 32
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    domains: Name | None = None
    codec: Name = "raw"
    validation: Annotated[float, Field(gt=0, lt=1)] | None = None
    method: Name = "sgs"
    recipe: Recipe = Recipe()
