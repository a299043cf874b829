"""Matching objectives: pure functions of features, one file each, all with the same signature.

`objective(features (N, F), members (M, N), targets (M, F)) -> losses (M,)`. One call serves the pooled objective
(subsets = classes, targets = class means), a domain's own (targets = that domain's means) and dedicated subsets.
"""

from dgdd_cli.matching.distribution import dm_losses

OBJECTIVES = {"dm": dm_losses}

__all__ = ["OBJECTIVES", "dm_losses"]
