"""`bundle approve --withdraw`: what is withdrawn is shown and asked for, and the document says it."""

from __future__ import annotations

import pytest

from bundler.cli.options import console
from tests.rig.answers import Document
from tests.rig.approvaldesk import ApprovalDesk

APPROVAL = "lan-chat 1.4.0 for production, role security (in the bundle)"
QUESTION = ("Withdraw this approval? [y/N] ", "--yes")


@pytest.fixture
def approved(desk: ApprovalDesk) -> ApprovalDesk:
    """A bundle that Ops and Sec have approved."""
    for role, key in (("ops", "Ops"), ("security", "Sec")):
        code, _, err = desk.approve(role=role, key=key)
        assert code == 0, err
    return desk


def of(desk: ApprovalDesk) -> list[str]:
    """The roles of the approvals in the bundle."""
    return sorted({name.split("/")[1].partition("-")[0] for name in desk.approvals})


def test_the_own_approval_is_withdrawn_and_the_document_names_it(approved: ApprovalDesk) -> None:
    code, out, err = approved.run("--withdraw", "--yes", json_=True)
    assert code == 0, err
    document = Document.read(out)
    assert document["changed"] is True
    (row,) = document["withdrawn"]
    assert (row["role"], row["environment"]) == ("security", "production")
    assert of(approved) == ["ops"]
    code, out, _ = approved.run("--withdraw", "--yes", json_=True)
    document = Document.read(out)
    assert (code, document["changed"], document["withdrawn"]) == (0, False, [])


@pytest.mark.parametrize(("answer", "code"), [("n", 17), ("", 17), ("y", 0)])
def test_a_withdrawal_is_shown_and_asked_for(
    approved: ApprovalDesk, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    asked = []
    monkeypatch.setattr(console, "ask", lambda question, flag: asked.append((question, flag)) or answer)
    got, out, err = approved.run("--withdraw")
    assert (got, asked) == (code, [QUESTION])
    assert APPROVAL in err
    assert (f"withdrawn: {APPROVAL}" in out) == (code == 0)
    assert of(approved) == (["ops"] if code == 0 else ["ops", "security"])


def test_without_a_terminal_nothing_is_withdrawn_without_the_flag(approved: ApprovalDesk) -> None:
    code, _, err = approved.run("--withdraw")
    assert (code, "give --yes" in err) == (2, True), err
    assert of(approved) == ["ops", "security"]


def test_who_has_given_none_is_not_asked(approved: ApprovalDesk) -> None:
    code, out, err = approved.run("--withdraw", key="Boss")
    assert (code, out.strip()) == (0, "no approval by this key: nothing to withdraw"), err
    assert of(approved) == ["ops", "security"]


def test_whoever_withdraws_is_told_of_copies_that_were_handed_over(approved: ApprovalDesk) -> None:
    out = approved.run("--withdraw", "--yes")[1]
    assert "copies of the bundle that were handed over before still have it" in out
