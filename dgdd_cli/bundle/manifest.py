"""What a bundle says about itself: the schema `dgdd/1`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from dgdd_cli.text import canonical_json, check_name, check_text, printable

SCHEMA = "dgdd/1"

Name = Annotated[str, AfterValidator(check_name)]
Text = Annotated[str, AfterValidator(check_text)]
Sha256 = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
Identifier = Annotated[str, Field(pattern=r"\A[0-9a-f]{16}\z")]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Size = Annotated[int, Field(ge=1, lt=2**53)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Block(BaseModel):
    """A closed, immutable group of fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, serialize_by_alias=True)

    def document(self) -> dict[str, Any]:
        """The block as plain JSON values, under the names that the file uses."""
        return self.model_dump(mode="json", by_alias=True)


class Images(Block):
    """`ipc` stored images of every class, and how the training images that they decode to are laid out."""

    count: Size
    ipc: Size
    height: Size
    width: Size
    layout: Literal["NCHW"] = "NCHW"
    space: Literal["pixels-u8"] = "pixels-u8"


class Normalise(Block):
    """Per-channel statistics (RGB, pixels in [0, 1]) to apply before a network, and where they were computed."""

    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]
    origin: Text


class Synthesis(Block):
    """How stored images decode to training images: `identity`, or the name of a parameterisation with its settings."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    name: Name = "identity"

    @property
    def settings(self) -> dict[str, JsonValue]:
        return dict(self.__pydantic_extra__)


class Method(Block):
    """The recipe's name and every hyper-parameter as it was resolved."""

    name: Name
    settings: dict[Name, JsonValue]


class Device(Block):
    type: Name
    name: Text


class Source(Block):
    """The data that was distilled, by fingerprints of whole domains; `counts` holds the images per domain and class
    that were distilled, or nothing when too many to list."""

    dataset: Name
    fingerprint: Sha256
    domain_fingerprints: dict[Name, Sha256]
    licence: Text
    citation: Text
    counts: dict[Name, dict[Name, Count]]


OPTIONAL = ("codec", "label_kind", "validation")


class Validation(Block):
    """Images of the sources that were left out of distilling: their share of every cell, their number, and a hash of
    which they are; the seed of the run draws them."""

    share: Annotated[float, Field(gt=0, lt=1)]
    images: Size
    sha256: Sha256


class BundleFacts(Block):
    """Everything the one who distils knows; `domains` are the sources, which the tensor `domains` indexes."""

    normalise: Normalise
    classes: tuple[Name, ...] = Field(min_length=1)
    domains: tuple[Name, ...] = Field(min_length=1)
    target: Name | None
    synthesis: Synthesis = Synthesis()
    codec: Annotated[str, Field(pattern=r"\A(png|webp:([1-9][0-9]?|100))\z")] | None = None  # of `encoded` images alone
    label_kind: Literal["hard", "probability", "regression"] | None = None  # stated for soft labels alone
    method: Method
    seed: Seed
    steps: Count
    software: dict[Name, Text]
    device: Device
    source: Source
    validation: Validation | None = None

    def document(self) -> dict[str, Any]:
        """As every block's, without what is optional and not stated."""
        return {key: value for key, value in Block.document(self).items() if key not in OPTIONAL or value}

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        for what, names in (("classes", self.classes), ("domains", self.domains)):
            if len(set(names)) < len(names):
                raise ValueError(f"a name occurs twice in {what}")
        if self.target in self.domains:
            raise ValueError(f"the target {self.target!r} is among the sources")
        known, classes = set(self.domains), set(self.classes)
        for name in (*self.source.domain_fingerprints, *self.source.counts):
            if name not in known:
                raise ValueError(f"source speaks of the domain {name!r}, which is not in domains")
        for counts in self.source.counts.values():
            for name in counts:
                if name not in classes:
                    raise ValueError(f"source counts the class {name!r}, which is not in classes")
        return self


class Manifest(BundleFacts):
    """The whole manifest. `id` = first 16 hex digits of sha256 over the canonical JSON of all else."""

    schema_name: Literal["dgdd/1"] = Field(alias="schema")
    id: Identifier
    images: Images
    hashes: dict[Name, Sha256]


ANY_BLOCK = TypeVar("ANY_BLOCK", bound=Block)


def identify(document: Mapping[str, Any]) -> str:
    """The id of a manifest document, whatever it holds under `id`."""
    rest = {key: value for key, value in document.items() if key != "id"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()[:16]


def parse(model: type[ANY_BLOCK], document: Mapping[str, Any]) -> ANY_BLOCK:
    """`document` as a model, without coercion; raises ValueError with one line that names the field."""
    try:
        return model.model_validate_json(canonical_json(document), strict=True)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints in one printable line."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(printable(str(part), length=40) for part in problem["loc"])
    what = problem["msg"].removeprefix("Value error, ")
    more = error.error_count() - 1
    return printable(f"{where}: {what}" if where else what) + (f" (and {more} more)" if more else "")
