"""Paired differences against a hand calculation and against what they must not depend on."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dgdd_cli.studies.paired import paired_difference


def test_by_hand():
    """Two targets, three seeds: variance within targets (0.01 + 0.04) / 4, four degrees of freedom."""
    ours = {"a": [0.5, 0.6, 0.7], "b": [0.9, 0.7, 0.8]}
    theirs = {"a": [0.4, 0.5, 0.5], "b": [0.6, 0.6, 0.6]}
    found = paired_difference(ours, theirs)
    gaps = {"a": [0.1, 0.1, 0.2], "b": [0.3, 0.1, 0.2]}
    within = sum((g - sum(own) / 3) ** 2 for own in gaps.values() for g in own) / 4
    assert found.mean == pytest.approx((0.4 / 3 + 0.2) / 2)
    assert found.error == pytest.approx(math.sqrt(within / 6))
    assert found.interval == pytest.approx(found.error * stats.t.ppf(0.975, 4))
    assert found.by_target == pytest.approx({"a": 0.4 / 3, "b": 0.2})
    assert found.pairs == 6


def test_of_one_target_it_is_the_paired_t_interval():
    ours, theirs = [0.52, 0.61, 0.58, 0.49], [0.5, 0.5, 0.55, 0.5]
    found = paired_difference({"a": ours}, {"a": theirs})
    wanted = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.mean - found.interval, found.mean + found.interval) == pytest.approx((wanted.low, wanted.high))


def test_one_seed_has_a_mean_and_no_interval():
    found = paired_difference({"a": [0.5], "b": [0.7]}, {"a": [0.4], "b": [0.4]})
    assert found.mean == pytest.approx(0.2)
    assert found.error is None
    assert found.interval is None


accuracies = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(accuracies, accuracies), min_size=1, max_size=4), st.floats(-1, 1))
def test_what_is_hard_for_both_says_nothing(pairs, shift):
    """A target that moves all recipes alike moves nothing; one that moves their difference moves the mean alone."""
    ours, theirs = ({str(t): list(pair[side]) for t, pair in enumerate(pairs)} for side in (0, 1))
    plain = paired_difference(ours, theirs)
    both = paired_difference(*({t: [v + shift for v in own] for t, own in side.items()} for side in (ours, theirs)))
    assert both.mean == pytest.approx(plain.mean, abs=1e-9)
    assert both.error == pytest.approx(plain.error, abs=1e-9)
    moved = paired_difference(ours | {"0": [v + shift for v in ours["0"]]}, theirs)
    assert moved.mean == pytest.approx(plain.mean + shift / len(pairs), abs=1e-9)
    assert moved.error == pytest.approx(plain.error, abs=1e-9)


def test_targets_with_other_seeds_are_refused():
    with pytest.raises(ValueError, match="same seeds"):
        paired_difference({"a": [0.1, 0.2], "b": [0.1]}, {"a": [0.1, 0.2], "b": [0.1]})
