"""Semantic versions and the sequence number that follows from them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.errors import UsageError
from installer.core.limits import LIMITS
from installer.core.semver import Version, compare, default_sequence, parse

ORDERED = [
    "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
    "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0", "2.0.0",
]  # fmt: skip


@pytest.mark.parametrize(("lower", "higher"), list(pairwise(ORDERED)))
def test_precedence_is_that_of_semver(lower, higher):
    assert compare(lower, higher) == -1
    assert compare(higher, lower) == 1
    assert parse(lower) < parse(higher)


def test_a_leading_v_is_dropped_and_build_metadata_does_not_count():
    assert str(parse("v1.4.0-rc.1+build.7")) == "1.4.0-rc.1+build.7"
    assert compare("1.4.0+a", "v1.4.0+b") == 0
    assert hash(parse("1.4.0+a")) == hash(parse("1.4.0"))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1.4", "1.4.0"),
        ("1", "1.0.0"),
        ("01.4.0", "leading zeros"),
        ("1.4.0.1", "MAJOR.MINOR.PATCH"),
        ("1.4.0-", "MAJOR"),
        ("1.4.0-01", "MAJOR"),
        ("vv1.4.0", "MAJOR"),
        ("V1.4.0", "MAJOR"),
        ("latest", "MAJOR"),
        ("", "MAJOR"),
        ("1.4.0\n", "MAJOR"),
        ("1.4.0-é", "MAJOR"),
        ("١.4.0", "MAJOR"),
        ("1.4.0-" + "a" * 200, "128"),
    ],
)
def test_what_is_no_semantic_version_is_refused_with_a_way_out(text, hint):
    with pytest.raises(UsageError, match="not a semantic version") as caught:
        parse(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "sequence"),
    [
        ("1.4.0", (1 * 10**8 + 4 * 10**4) * 1000 + 999),
        ("0.1.0", 10_000_999),
        ("1.4.0-alpha.7", (1 * 10**8 + 4 * 10**4) * 1000 + 7),
        ("1.4.0-beta.7", (1 * 10**8 + 4 * 10**4) * 1000 + 307),
        ("1.4.0-rc.299", (1 * 10**8 + 4 * 10**4) * 1000 + 899),
        ("1.4.0+build.1", (1 * 10**8 + 4 * 10**4) * 1000 + 999),
        ("1.4.0-rc.300", None),
        ("1.4.0-rc", None),
        ("1.4.0-dev.1", None),
        ("1.4.0-rc.1.1", None),
        ("10000.0.0", None),
        ("1.0.10000", None),
    ],
)
def test_the_sequence_follows_from_finals_and_numbered_stages_only(text, sequence):
    assert default_sequence(parse(text)) == sequence


components = st.integers(0, 9999)
stages = st.one_of(
    st.just(()), st.tuples(st.sampled_from(["alpha", "beta", "rc"]), st.integers(0, 299).map(str))
)
versions = st.builds(Version, components, components, components, stages)


@given(versions, versions)
def test_sequences_sort_like_versions_and_fit_into_json(left, right):
    a, b = default_sequence(left), default_sequence(right)
    assert a is not None
    assert b is not None
    assert (a < b) == (left < right)
    # Every one of them is accepted as a first release.
    assert max(a, b) < LIMITS.first_sequence < 2**53 - 500 * LIMITS.sequence_jump


@given(versions)
def test_a_version_reads_as_it_prints(version):
    assert parse(str(version)) == version
