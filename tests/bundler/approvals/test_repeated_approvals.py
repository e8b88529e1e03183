"""A command that is repeated adds no second approval; an approval that ends soon is renewed."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bundler.approvals.approval import ApprovalRequest
from bundler.approvals.withdraw import own_approvals, withdraw
from bundler.commands import approve
from installer.core.errors import UsageError
from installer.core.timestamps import format_time
from installer.core.trust.approval_sidecar import sidecar_path
from tests.rig.approving import ASKED, OPS, tail
from tests.rig.trustworld import NOW, TEAM, World, person

LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "b.tar"
    path.write_bytes(World().tar())
    return path


def approvals(path: Path) -> int:
    return sum(name.endswith(".json") and "sigstore" not in name for name in tail(path.read_bytes()))


def test_the_same_approval_again_adds_nothing_and_says_so(path: Path) -> None:
    first = approve.approve_bundle(path, OPS, ASKED, NOW)
    before = path.read_bytes()
    again = approve.approve_bundle(path, OPS, ASKED, LATER)
    assert path.read_bytes() == before
    assert again.approval == first.approval
    assert "already present: nothing was added" in again.as_text()
    assert again.as_json()["added"] == []


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, change_id="CHG-8"),
        replace(ASKED, rollback_to="1.2.0"),
        replace(ASKED, notes="really"),
        replace(ASKED, targets=("chat01",)),
        replace(ASKED, environment="test"),
        replace(ASKED, expires="60d"),
        replace(ASKED, expires="2030-01-31T00:00:00Z"),
    ],
)
def test_whatever_says_something_else_is_added(path: Path, other: ApprovalRequest) -> None:
    approve.approve_bundle(path, OPS, ASKED, NOW)
    count = approvals(path)
    assert approve.approve_bundle(path, OPS, other, LATER).files
    assert approvals(path) == count + 1
    # And again, nothing.
    assert not approve.approve_bundle(path, OPS, other, LATER).files


def test_another_key_gives_an_approval_of_its_own(path: Path) -> None:
    approve.approve_bundle(path, OPS, ASKED, NOW)
    assert approve.approve_bundle(path, person("Bo").signer, ASKED, NOW).files
    assert TEAM["ops"] != "Bo"


def test_an_approval_past_half_of_its_time_is_renewed(path: Path) -> None:
    approve.approve_bundle(path, OPS, ASKED, NOW)  # for 14 days
    assert not approve.approve_bundle(path, OPS, ASKED, NOW + timedelta(days=6)).files
    assert approve.approve_bundle(path, OPS, ASKED, NOW + timedelta(days=8)).files


def test_a_statement_that_somebody_placed_there_is_no_approval(path: Path, tmp_path: Path) -> None:
    sidecar = tmp_path / "b.tar.approvals"
    given = approve.approve_bundle(path, OPS, ASKED, NOW, sidecar)
    # The statement stays, its signatures are those of another file.
    for name in given.files[1:]:
        (sidecar / name.partition("/")[2]).write_bytes(b"AAAA")
    assert approve.approve_bundle(path, OPS, ASKED, LATER, sidecar).files


def test_an_approval_is_prepared_once(path: Path) -> None:
    first = approve.prepare_approval(path, ASKED, NOW)
    data = first.path.read_bytes()
    assert approve.prepare_approval(path, ASKED, LATER).sha256 == first.sha256
    assert first.path.read_bytes() == data


@pytest.mark.parametrize("asked", ["7d", format_time(NOW + timedelta(days=7))], ids=["a duration", "a time"])
def test_an_approval_for_a_shorter_time_than_one_that_is_there_is_refused(path: Path, asked: str) -> None:
    shorter = replace(ASKED, expires=asked)
    given = approve.approve_bundle(path, OPS, replace(ASKED, expires="400d"), NOW).files
    before = path.read_bytes()
    with pytest.raises(UsageError, match="this key has approved the same until") as caught:
        approve.approve_bundle(path, OPS, shorter, LATER)
    assert caught.value.where == given[0]
    assert "--withdraw --role ops --env production --key KEY" in caught.value.hint
    assert path.read_bytes() == before
    # Once it is withdrawn, the shorter one is given.
    withdraw(path, own_approvals(path, [OPS.keyid8], "ops", "production"))
    assert approve.approve_bundle(path, OPS, shorter, LATER).files


def test_a_longer_approval_in_a_directory_is_named_by_its_path_and_its_hint_withdraws_it(
    path: Path, tmp_path: Path
) -> None:
    place, longer = tmp_path / "to carry", replace(ASKED, expires="30d")
    given = approve.approve_bundle(path, OPS, longer, NOW, place).files[0]
    with pytest.raises(UsageError) as caught:
        approve.approve_bundle(path, OPS, ASKED, LATER, place)
    assert caught.value.where == str(place / Path(given).name)
    command = shlex.split(caught.value.hint.split("`")[1])
    assert command[:4] == ["bundle", "approve", str(path), "--withdraw"]
    # As the command is typed: with its directory.
    named = Path(command[command.index("--output") + 1])
    withdraw(path, own_approvals(path, [OPS.keyid8], "ops", "production", named))
    assert approve.approve_bundle(path, OPS, ASKED, LATER, place).files


def test_a_longer_approval_next_to_the_bundle_is_withdrawn_without_its_directory(path: Path) -> None:
    beside = sidecar_path(path)
    approve.approve_bundle(path, OPS, replace(ASKED, expires="30d"), NOW, beside)
    with pytest.raises(UsageError) as caught:
        approve.approve_bundle(path, OPS, ASKED, LATER, beside)
    assert caught.value.where.startswith(f"{beside}/")
    assert "--output" not in caught.value.hint


def test_a_longer_approval_in_the_bundle_is_found_behind_a_file_of_its_name(
    path: Path, tmp_path: Path
) -> None:
    place = tmp_path / "out"
    beside = approve.approve_bundle(path, OPS, replace(ASKED, expires="7d"), NOW, place).files
    inside = approve.approve_bundle(path, OPS, replace(ASKED, expires="30d"), NOW).files
    assert inside == beside
    with pytest.raises(UsageError) as caught:
        approve.approve_bundle(path, OPS, ASKED, LATER, place)
    assert caught.value.where == inside[0]


def test_an_approval_that_is_there_is_reported_in_its_own_place(path: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    approve.approve_bundle(path, OPS, ASKED, NOW)
    again = approve.approve_bundle(path, OPS, ASKED, LATER, place)
    assert (again.files, again.directory, place.exists()) == ((), None, False)


class TestMaximumAge:
    """What the policy of the environment counts: 30 days that it counts for 10 are no longer than 14 days."""

    def test_an_approval_that_the_policy_counts_no_more_is_renewed(self, path: Path) -> None:
        approve.approve_bundle(path, OPS, replace(ASKED, expires="30d"), NOW)
        later = NOW + timedelta(days=11)
        for asked in (ASKED, replace(ASKED, expires="30d")):
            copy = path.with_name(f"{asked.expires}.tar")
            copy.write_bytes(path.read_bytes())
            assert approve.approve_bundle(copy, OPS, asked, later, max_age_days=10).files

    def test_an_approval_that_the_policy_counts_for_less_is_renewed(self, path: Path) -> None:
        until = replace(ASKED, expires=format_time(NOW + timedelta(days=30)))
        approve.approve_bundle(path, OPS, until, NOW)
        early, late = NOW + timedelta(days=4), NOW + timedelta(days=6)
        assert not approve.approve_bundle(path, OPS, until, early, max_age_days=10).files
        assert approve.approve_bundle(path, OPS, until, late, max_age_days=10).files

    def test_an_approval_that_the_policy_counts_for_longer_is_refused(self, path: Path) -> None:
        approve.approve_bundle(path, OPS, replace(ASKED, expires="30d"), NOW)
        later, ends = NOW + timedelta(days=1), NOW + timedelta(days=10)
        with pytest.raises(UsageError, match=f"the same until {format_time(ends)}"):
            approve.approve_bundle(path, OPS, replace(ASKED, expires="7d"), later, max_age_days=10)

    def test_a_prepared_statement_that_is_longer_in_words_only_is_kept(self, path: Path) -> None:
        first = approve.prepare_approval(path, replace(ASKED, expires="30d"), NOW, max_age_days=10)
        again = approve.prepare_approval(path, ASKED, LATER, max_age_days=10)
        assert again.sha256 == first.sha256


def test_a_prepared_statement_for_a_longer_time_is_not_kept_for_a_shorter_one(path: Path) -> None:
    first = approve.prepare_approval(path, replace(ASKED, expires="400d"), NOW)
    data = first.path.read_bytes()
    with pytest.raises(UsageError):
        approve.prepare_approval(path, replace(ASKED, expires="7d"), LATER)
    assert first.path.read_bytes() == data
