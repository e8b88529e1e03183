"""What is recorded of the health checks that passed: bounded, without secrets, readable in every version."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.shared.secrecy.known import Secrets
from installer.state.releases.passed_checks import NAMES_BYTES, PassedChecks

NAMES = ("http http://127.0.0.1:8080/healthz", "tcp 127.0.0.1:4222")


def passed(*names: str, secrets: tuple[str, ...] = ()) -> PassedChecks:
    known = Secrets()
    known.add(secrets)
    return PassedChecks.of(names, known)


def test_a_record_is_read_as_it_was_written() -> None:
    assert PassedChecks.read(passed(*NAMES).as_json()) == PassedChecks(2, NAMES)


def test_a_target_is_recorded_without_the_secret_in_it() -> None:
    found = passed("http http://127.0.0.1/?token=hunter22-of-the-site", secrets=("hunter22-of-the-site",))
    assert "hunter22" not in json.dumps(found.as_json())
    assert found.count == 1


@given(st.lists(st.text(max_size=3000), max_size=256))
def test_a_record_never_outgrows_its_reserved_space_and_keeps_the_count(names: list[str]) -> None:
    found = passed(*names)
    assert found.count == len(names)
    assert len(json.dumps(found.as_json()["checks"])) <= NAMES_BYTES + 2


@pytest.mark.parametrize(
    "recorded",
    [None, [], "2", {}, {"passed": "2"}, {"passed": True}, {"passed": -1}, {"checks": ["tcp a:1"]}],
    ids=str,
)
def test_a_record_of_another_form_counts_as_none(recorded: object) -> None:
    assert PassedChecks.read(recorded) is None


def test_the_public_record_has_the_count_without_the_targets() -> None:
    public = passed(*NAMES).public()
    assert "127.0.0.1" not in json.dumps(public)
    assert PassedChecks.read(public) == PassedChecks(2, None)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (PassedChecks(0, ()), "no health checks"),
        (PassedChecks(1, None), "1 health check passed"),
        (PassedChecks(1, NAMES[:1]), "1 health check passed: http http://127.0.0.1:8080/healthz"),
        (PassedChecks(7, tuple("abcdefg")), "7 health checks passed: a, b, c, d, e and 2 more"),
        (PassedChecks(3, ("a",)), "3 health checks passed: a and 2 more"),
    ],
    ids=["none", "targets hidden", "one", "many", "names cut"],
)
def test_a_line_for_people_counts_the_checks_and_names_the_first(found: PassedChecks, text: str) -> None:
    assert found.text() == text
