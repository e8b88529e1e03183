"""`bundle approve --root` warns of an approval that hosts would not accept together with this one."""

from __future__ import annotations

import pytest

from tests.rig.approvaldesk import ApprovalDesk

FIRST = ("--change-id", "CHG-7", "--rollback-to", "1.3.0")


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (
            ("--change-id", "CHG-8"),
            "the approval of Ops names another change id (CHG-7) than this one (CHG-8)",
        ),
        (
            ("--rollback-to", "1.2.0"),
            "the approval of Ops names another version to roll back to (1.3.0) than this one (1.2.0)",
        ),
    ],
)
def test_another_value_than_that_of_an_approval_that_counts_is_warned_of(
    desk: ApprovalDesk, second: tuple[str, str], words: str
) -> None:
    assert desk.approve(*FIRST, role="ops", key="Ops")[0] == 0
    code, _, err = desk.approve(*second)
    assert code == 0, err
    assert f"warning: {words}" in err
    assert f"give {second[0]} {dict(zip(FIRST[::2], FIRST[1::2], strict=True))[second[0]]}" in err
    assert "`bundle approve BUNDLE --withdraw --key KEY`" in err


@pytest.mark.parametrize("second", [(), FIRST, ("--rollback-to", "v1.3.0")])
def test_the_same_value_or_none_is_not_warned_of(desk: ApprovalDesk, second: tuple[str, ...]) -> None:
    assert desk.approve(*FIRST, role="ops", key="Ops")[0] == 0
    code, _, err = desk.approve(*second)
    assert (code, "names another" in err) == (0, False), err


def test_an_approval_next_to_the_bundle_is_compared_too(desk: ApprovalDesk) -> None:
    assert desk.approve(*FIRST, "--sidecar", role="ops", key="Ops")[0] == 0
    assert desk.approvals == []
    assert "names another change id" in desk.approve("--change-id", "CHG-8")[2]


def test_an_approval_that_does_not_count_is_not_compared(desk: ApprovalDesk) -> None:
    words = ("--release-key", str(desk.path / "Rea.pub"), "--yes", "--change-id", "CHG-7")
    assert desk.run("--role", "ops", "--env", "production", *words, key="Boss")[0] == 0
    assert "names another" not in desk.approve("--change-id", "CHG-8")[2]


def test_approvals_for_other_hosts_are_not_compared(desk: ApprovalDesk) -> None:
    assert desk.approve(*FIRST, "--target", "chat01", role="ops", key="Ops")[0] == 0
    assert "names another" not in desk.approve("--change-id", "CHG-8", "--target", "chat02")[2]
    assert "names another" in desk.approve("--change-id", "CHG-8", "--target", "chat01")[2]
