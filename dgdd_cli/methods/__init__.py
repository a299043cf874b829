"""What a step is: feature matching and gradient matching, one file each and a line in METHODS."""

from dgdd_cli.config import Matching
from dgdd_cli.errors import UnknownName
from dgdd_cli.matching import OBJECTIVES
from dgdd_cli.methods.feature_matching import FEATURE_MATCHING
from dgdd_cli.methods.gradient_matching import GRADIENT_MATCHING
from dgdd_cli.methods.method import Method

METHODS: dict[str, Method] = {"gradient": GRADIENT_MATCHING}  # by what a recipe calls them in matching.name


def method_of(matching: Matching) -> Method:
    """The method of a name, or feature matching, which every objective on features is one of. Raises UnknownName."""
    if matching.name in METHODS:
        return METHODS[matching.name]
    if matching.name in OBJECTIVES:
        return FEATURE_MATCHING
    raise UnknownName("matching objective", matching.name, (*OBJECTIVES, *METHODS))


__all__ = ["FEATURE_MATCHING", "METHODS", "Method", "method_of"]
