"""The history of a product whose disk has lost data: named to its readers, no obstacle to an install."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from installer.audit.evidence import Refusal
from installer.commands import history
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from installer.state.releases.passed_checks import PassedChecks
from tests.rig import auditlogs, steps
from tests.rig.chatd import ONE, TWO
from tests.rig.faulty import Cut, Killed
from tests.rig.releases import ReleaseSpec, context, install, recovered, remove, root

pytestmark = pytest.mark.host(ONE)


def place(within: Context) -> Path:
    return Path(within.system.root, within.layout.history[1:])


DAMAGE = pytest.mark.parametrize("damage", [b"\xff\n", b"1\n", b"[]\n", b"{}\n", b"\n"])


@DAMAGE
def test_a_damaged_line_keeps_no_transaction_from_ending_and_stays(host: Context, damage: bytes) -> None:
    before = place(host).read_bytes()
    before += damage + before
    place(host).write_bytes(before)
    install(host, TWO)
    after = place(host).read_bytes()
    assert after.startswith(before)
    assert json.loads(after.removeprefix(before))["version"] == "2.0.0"
    with pytest.raises(HostNotReadyError, match=r"history\.jsonl:2: is damaged"):
        history.events(host)


@DAMAGE
def test_a_damaged_last_line_counts_as_torn(host: Context, damage: bytes) -> None:
    place(host).write_bytes(place(host).read_bytes() + damage)
    assert [event.version for event in history.events(host)] == ["1.0.0"]
    install(host, TWO)
    assert [event.version for event in history.events(host)] == ["1.0.0", "2.0.0"]


@pytest.mark.parametrize(
    "change",
    [
        {"began": "1"},
        {"began": 10**15},
        {"began": -(10**12)},
        {"ended": None},
        {"version": 1},
        {"why": 1},
        {"evidence": []},
    ],
    ids=str,
)
def test_a_line_of_other_types_is_called_damaged(host: Context, change: dict[str, object]) -> None:
    line = json.loads(place(host).read_bytes())
    rows = (line, line | change, line)
    place(host).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(HostNotReadyError, match=r"history\.jsonl:2: is damaged"):
        history.events(host)


@pytest.mark.parametrize(
    "evidence",
    [{"record": []}, {"record": {"path": 1}}, {"policy": 1}, {"policy": {"break_glass": "ops"}}],
    ids=str,
)
def test_evidence_of_other_types_is_shown_as_none(host: Context, evidence: dict[str, object]) -> None:
    line = json.loads(place(host).read_bytes())
    place(host).write_text(f"{json.dumps(line | {'evidence': evidence})}\n")
    (event,) = history.events(host)
    assert (event.version, event.evidence, event.broken) == ("1.0.0", "", ())


def test_a_torn_last_line_is_left_out_and_written_over(host: Context) -> None:
    before = place(host).read_bytes()
    place(host).write_bytes(before + before[:-9])
    assert [event.version for event in history.events(host)] == ["1.0.0"]
    install(host, TWO)
    assert [event.version for event in history.events(host)] == ["1.0.0", "2.0.0"]


def test_every_row_says_which_product_it_is_about(host: Context) -> None:
    install(host, TWO)
    remove(host)
    rows = [event.text().splitlines()[0] for event in history.events(host)]
    assert [row.split()[2:6] for row in rows[:2]] == [
        ["000001", "apply", "lan-chat", "1.0.0"], ["000002", "apply", "lan-chat", "2.0.0"],
    ]  # fmt: skip
    # A removal installs no version.
    assert rows[2].split()[2:] == ["000003", "remove", "lan-chat", "done"]
    assert {event.as_json()["product"] for event in history.events(host)} == {"lan-chat"}


CHECK = HealthCheck("command", "", ("/bin/true", "ready"), when="script")


class TestHealth:
    """Which health checks passed is recorded with COMMIT: in the journal, the history and the audit log."""

    @staticmethod
    def checked(*checks: HealthCheck) -> ReleaseSpec:
        return replace(steps.stepped("2.0.0", 2, steps.UNDO), health=checks)

    def test_an_install_says_which_checks_passed(self, host: Context) -> None:
        install(host, self.checked(CHECK), steps.ONLY)
        event = history.events(host)[-1]
        assert event.health == PassedChecks(1, ("command /bin/true ready",))
        assert "\n    1 health check passed: command /bin/true ready" in event.text()
        assert event.as_json()["health"] == {"passed": 1, "checks": ["command /bin/true ready"]}

    def test_the_audit_log_says_the_same(self, host: Context) -> None:
        install(host, self.checked(CHECK), steps.ONLY)
        ended = auditlogs.records(root(host))[-1]
        assert ended["health"] == {"passed": 1, "checks": ["command /bin/true ready"]}

    def test_a_release_without_checks_says_so(self, host: Context) -> None:
        install(host, self.checked(), steps.ONLY)
        assert "\n    no health checks" in history.events(host)[-1].text()

    def test_a_release_that_was_rolled_back_has_passed_none(self, host: Context) -> None:
        with pytest.raises(RolledBackError):
            install(host, steps.unhealthy(self.checked(CHECK)), steps.ONLY)
        assert history.events(host)[-1].health is None

    def test_a_removal_has_none(self, host: Context) -> None:
        remove(host)
        event = history.events(host)[-1]
        assert (event.verb, event.health) == ("remove", None)
        assert "health" not in event.text()

    def test_an_install_that_recovery_completes_says_which_checks_passed_then(self, host: Context) -> None:
        release = replace(steps.stepped("2.0.0", 2, steps.FORWARD), health=(CHECK,))
        with pytest.raises(Killed):
            install(context(Cut(Path(host.system.root), "FORWARD", 1)), release, steps.ONLY)
        assert [each.outcome for each in recovered(host)] == ["rolled-forward"]
        assert history.events(host)[-1].health == PassedChecks(1, ("command /bin/true ready",))

    def test_a_line_of_an_older_version_has_none(self, host: Context) -> None:
        line = json.loads(place(host).read_bytes())
        del line["health"]
        place(host).write_text(f"{json.dumps(line)}\n")
        (event,) = history.events(host)
        assert (event.outcome, event.health) == ("done", None)
        assert event.as_json()["health"] is None

    @pytest.mark.parametrize("health", [1, "2", {"passed": "1"}, {"passed": -1}], ids=str)
    def test_a_record_of_another_form_is_shown_as_none(self, host: Context, health: object) -> None:
        line = json.loads(place(host).read_bytes())
        place(host).write_text(f"{json.dumps(line | {'health': health})}\n")
        (event,) = history.events(host)
        assert event.health is None


class TestOrder:
    """By number: a clock that was set back, or ahead, moves nothing."""

    @staticmethod
    def event(transaction: int, began: int, evidence: int = 0, verb: str = "apply") -> history.Event:
        path = f"/var/lib/waybill/evidence.d/{evidence:06d}-passed-abc.json" if evidence else ""
        return history.Event(
            f"{transaction:06d}", verb, "done", began, began, f"{transaction}.0.0", "", evidence=path
        )

    @staticmethod
    def refusal(number: int, when: str) -> Refusal:
        path = f"/var/lib/waybill/evidence.d/{number:06d}-refused-abc.json"
        return Refusal(when, f"r{number}.tar", "", "", "", 9, "expired", path)

    def shown(self, events: list[history.Event], refusals: list[Refusal]) -> list[str]:
        lines = history.HistoryResult(tuple(events), tuple(refusals)).text().splitlines()
        words = [line.split() for line in lines if not line.startswith(" ")]
        return [word[6].removesuffix(":") if "REFUSED" in word else word[2] for word in words]

    def test_a_clock_that_was_ahead_once_moves_nothing(self) -> None:
        events = [self.event(1, 4_000_000_000, 1), self.event(2, 1_000_000_000, 3)]
        refusals = [self.refusal(2, "2001-01-01T00:00:00Z"), self.refusal(4, "1999-01-01T00:00:00Z")]
        assert self.shown(events, refusals) == ["000001", "r2.tar", "000002", "r4.tar"]

    def test_a_rollback_is_where_it_happened(self) -> None:
        events = [
            self.event(1, 100, 1),
            self.event(2, 200, 2),
            self.event(3, 300, 1, "rollback"),
            self.event(4, 50, 5),
        ]
        refusals = [self.refusal(3, "1970-01-01T00:04:00Z"), self.refusal(4, "1970-01-01T00:06:00Z")]
        assert self.shown(events, refusals) == ["000001", "000002", "r3.tar", "000003", "r4.tar", "000004"]

    def test_refusals_alone_are_in_the_order_of_their_numbers(self) -> None:
        refusals = [self.refusal(1, "2030-01-01T00:00:00Z"), self.refusal(2, "2001-01-01T00:00:00Z")]
        assert self.shown([], refusals) == ["r1.tar", "r2.tar"]
