"""The patterns of `secrets_allow`: what they cover, and that none of them takes long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.config.secrets.allowances import matches
from tests.rig.hang import ends


def by_expression(pattern: str, path: str) -> bool:
    """The meaning of a pattern as a regular expression, which takes for ever where there are many signs."""
    words = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.fullmatch("".join(words.get(part, re.escape(part)) for part in parts), path) is not None


@given(st.text("ab*?/.", max_size=8), st.text("ab/.", max_size=12))
def test_a_pattern_means_what_its_expression_means(pattern: str, path: str) -> None:
    assert matches(pattern, path) == by_expression(pattern, path)


@pytest.mark.parametrize(
    "pattern", ["*a" * 200 + "b", "**a" * 200 + "b", "**/a" * 200 + "b", "?*" * 200 + "b"]
)
@pytest.mark.parametrize("path", ["a" * 4000, "a/" * 2000])
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    with ends():
        assert not matches(pattern, path)
