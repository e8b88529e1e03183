"""The commands called from Python: nothing is printed or asked on a terminal, and the clock is passed in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from installer.commands.apply import apply
from installer.commands.common.bundle_verifier import BundleInput
from installer.commands.common.session import Session
from installer.commands.history import history
from installer.commands.plan import plan
from installer.commands.recover import recover
from installer.commands.remove import remove
from installer.commands.rollback import rollback
from installer.commands.status import status
from installer.commands.verify import verify
from installer.core.errors import DeclinedError, ExpiredError, RefusedError, UsageError
from installer.shared.command.ui import Ui
from tests.rig.bench import Bench, release
from tests.rig.trustworld import NOW


class Person(Ui):
    """Somebody who is asked, and remembers what was said."""

    def __init__(self, answer: str) -> None:
        self.answer, self.said, self.shown = answer, list[str](), list[Any]()

    def note(self, text: str) -> None:
        self.said.append(text)

    warn = alert = note

    def show(self, name: str, text: str, document: Any) -> None:
        assert text
        self.shown.append((name, document["verb"]))

    def ask(self, question: str, flag: str) -> str:
        self.said.append(f"{question}({flag})")
        return self.answer


def source(bench: Bench, version: str = "1.4.0", sequence: int = 100_040_000_999) -> BundleInput:
    return BundleInput(str(bench.bundle(release(version, sequence), f"{version}.tar")))


@pytest.fixture
def session(bench: Bench) -> Session:
    return Session.open(bench.host, clock=lambda: NOW)


def test_a_release_is_verified_planned_applied_rolled_back_and_removed_in_silence(
    bench: Bench, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = source(bench), source(bench, "1.5.0", 100_050_000_999)
    assert verify(session, old).verified.manifest.version == "1.4.0"
    planned = plan(session, old)
    assert [change.path for change in planned.changes.changes] == ["/opt", "/opt/a"]
    assert apply(session, old, yes=True).changed
    assert not apply(session, old, yes=True).changed
    upgraded = apply(session, new, yes=True)
    assert (upgraded.old and upgraded.old.version, upgraded.new and upgraded.new.version) == (
        "1.4.0",
        "1.5.0",
    )
    back = rollback(session, yes=True)
    assert back.new
    assert back.new.version == "1.4.0"
    (found,) = status(session).products
    assert (found.current and found.current.version, found.drift) == ("1.4.0", ())
    assert recover(session).recovered == ()
    removed = remove(session, "lan-chat", yes=True)
    assert removed.removal
    assert removed.removal.of("left") == []
    assert [event.verb for event in history(session).events] == ["apply", "apply", "rollback", "remove"]
    assert capsys.readouterr() == ("", "")


def test_the_plan_that_is_shown_is_carried_out_once_somebody_agrees(bench: Bench) -> None:
    person = Person("y")
    (bench.host / "etc/hostname").write_text("edge-7\n")
    session = Session.open(bench.host, person, lambda: NOW)
    apply(session, source(bench))
    apply(session, source(bench, "1.5.0", 100_050_000_999))
    rollback(session, "lan-chat")
    remove(session, "lan-chat")
    assert [verb for _, verb in person.shown] == ["apply", "apply", "rollback", "remove"]
    where = f"edge-7, below {bench.host} (environment production)"
    asked = [text for text in person.said if text.endswith("(--yes)")]
    assert asked == [
        f"Install lan-chat 1.4.0 on {where}? [y/N] (--yes)",
        f"Upgrade lan-chat 1.4.0 → 1.5.0 on {where}? [y/N] (--yes)",
        f"Roll back lan-chat 1.5.0 → 1.4.0 on {where}? [y/N] (--yes)",
        f"Remove lan-chat 1.4.0 on {where}? [y/N] (--yes)",
    ]


def test_nothing_is_changed_where_nobody_can_be_asked(bench: Bench, session: Session) -> None:
    with pytest.raises(UsageError) as caught:
        apply(session, source(bench))
    assert caught.value.hint == "give --yes"
    with pytest.raises(DeclinedError):
        apply(Session.open(bench.host, Person("no"), lambda: NOW), source(bench))
    assert not (bench.host / "opt").exists()
    assert list((bench.host / "var/lib/waybill/lan-chat/staging").iterdir()) == []


def test_refusals_are_errors_and_are_logged(bench: Bench, session: Session) -> None:
    apply(session, source(bench), yes=True)
    with pytest.raises(RefusedError, match="is a downgrade"):
        apply(session, source(bench, "1.3.0", 100_030_000_999), yes=True)
    (refusal,) = history(session).refusals
    assert (refusal.version, refusal.step) == ("1.3.0", 12)


def test_the_clock_that_is_passed_in_decides(bench: Bench) -> None:
    later = Session.open(bench.host, clock=lambda: NOW + timedelta(days=3650))
    with pytest.raises(ExpiredError):
        verify(later, source(bench))


def test_a_root_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a directory"):
        Session.open(tmp_path / "nowhere")
