"""Everything a user can set, as pydantic models, and how the layers of a configuration merge."""

from dgdd_cli.config.layers import (
    merge,
    parse_assignments,
    read_toml,
    recipe_names,
    recipe_text,
    resolve,
    to_toml,
    validate,
)
from dgdd_cli.config.protocol import Protocol
from dgdd_cli.config.recipe import (
    Distillation,
    Initialisation,
    Matching,
    Optimiser,
    Probes,
    Recipe,
    Risk,
    Surgery,
    Trajectory,
)
from dgdd_cli.config.settings import Settings

__all__ = [
    "Distillation",
    "Initialisation",
    "Matching",
    "Optimiser",
    "Probes",
    "Protocol",
    "Recipe",
    "Risk",
    "Settings",
    "Surgery",
    "Trajectory",
    "merge",
    "parse_assignments",
    "read_toml",
    "recipe_names",
    "recipe_text",
    "resolve",
    "to_toml",
    "validate",
]
