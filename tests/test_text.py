"""Counts in sentences."""

from __future__ import annotations

import pytest

from dgdd_cli.text import plural


@pytest.mark.parametrize(
    ("count", "nouns", "said"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (12_345, ("image",), "12,345 images"),
        (1, ("class", "classes"), "1 class"),
        (3, ("class", "classes"), "3 classes"),
        (1, ("group has", "groups have"), "1 group has"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, nouns: tuple[str, ...], said: str) -> None:
    assert plural(count, *nouns) == said
