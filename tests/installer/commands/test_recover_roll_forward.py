"""A transaction cut short where there was no way back: the next command goes on, and does nothing twice."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from installer.commands.common import recovery
from installer.commands.common.recovery import Recovered
from installer.commands.status import product_status
from installer.core.errors import IncompleteError, NotUndoneError
from installer.host.context import Context
from installer.host.system import SyncError
from installer.planning.drift import Policy
from installer.planning.plan import Options
from installer.state.state import State
from installer.transaction.journal import Journal
from tests.rig.faulty import Cut, Killed, Rebooted, Refusing
from tests.rig.releases import ReleaseSpec, context, install, recovered
from tests.rig.steps import (
    DATA,
    FORWARD,
    LATER,
    MIGRATE,
    ONE,
    ONLY,
    SAVED,
    SCRIPT,
    UNDO,
    install_steps,
    lines,
    stepped,
    unhealthy,
)

pytestmark = pytest.mark.host(ONE, options=ONLY, files=DATA)

TWO = stepped("2.0.0", 2, FORWARD, LATER)
LOG = "/var/lib/waybill/lan-chat/txn/000002.log"


def cut(host: Context, after: str, nth: int = 1, release: ReleaseSpec = TWO) -> None:
    with pytest.raises(Killed):
        install_steps(context(Cut(Path(host.system.root), after, nth)), release)


def journal(host: Context) -> Journal:
    return Journal.open(host.system, LOG.replace(".log", ".done"))


def types(host: Context) -> list[str]:
    found = [record.type for record in journal(host).records]
    return found[found.index("FORWARD") :]


@pytest.mark.parametrize(
    ("after", "nth", "ran"),
    [
        ("FORWARD", 1, ["migrate", "later"]),
        ("migrate.sh", 1, ["migrate", "migrate", "later"]),
        ("later.sh", 1, ["migrate", "later", "later"]),
    ],
    ids=["before the step began", "in the step", "in the step after it"],
)
def test_what_was_not_done_is_done_and_only_that(host: Context, after: str, nth: int, ran: list[str]) -> None:
    cut(host, after, nth)
    assert recovered(host) == [Recovered("000002", "rolled-forward")]
    assert lines(host)[2:] == [f"{name} 2.0.0" for name in ran]
    assert lines(host, "data") == lines(host, "etc/f") == ["2.0.0"]
    assert types(host) == ["FORWARD", "INTENT", "DONE", "INTENT", "DONE", "COMMIT", "END"]
    assert recovered(host) == []


@pytest.mark.parametrize("ends", range(1, 5), ids=["INTENT", "DONE", "INTENT again", "DONE again"])
def test_what_an_earlier_process_has_begun_is_not_begun_again(host: Context, ends: int) -> None:
    """Cut after each record that follows FORWARD: what is begun is told once, what is done is told once."""
    cut(host, "FORWARD")
    copy = Path(host.system.root)
    within = context(Cut(copy, "INTENT" if ends % 2 else "DONE", (ends + 1) // 2))
    with pytest.raises(Killed):
        recovered(within)
    assert recovered(host) == [Recovered("000002", "rolled-forward")]
    assert lines(host)[2:] == ["migrate 2.0.0", "later 2.0.0"]
    assert types(host) == ["FORWARD", "INTENT", "DONE", "INTENT", "DONE", "COMMIT", "END"]
    done = [record.fields["of"] for record in journal(host).records if record.type == "DONE"]
    assert done == [record.number for record in journal(host).records if record.type == "INTENT"]


def test_recovery_undoes_until_the_journal_has_the_point_of_no_return(host: Context) -> None:
    release = stepped("2.0.0", 2, LATER, FORWARD)
    cut(host, "later.sh", release=release)
    assert recovered(host) == [Recovered("000002", "undone")]
    assert lines(host, "data") == lines(host, "etc/f") == ["1.0.0"]


def test_what_was_decided_is_only_finished(host: Context) -> None:
    cut(host, "COMMIT")
    assert recovered(host) == [Recovered("000002", "finished")]
    assert lines(host)[2:] == ["migrate 2.0.0", "later 2.0.0"]


def test_what_fails_on_the_way_is_told_and_the_release_stands(host: Context) -> None:
    bad = SCRIPT + b"echo one; echo no such unit; exit 1\n"
    cut(host, "FORWARD", release=stepped("2.0.0", 2, FORWARD, LATER, UNDO, later=bad))
    (found,) = recovered(host)
    assert (found.outcome, found.incomplete) == ("rolled-forward", True)
    assert "no such unit" in found.why
    assert "is committed, but a step failed: " in found.text()
    assert lines(host, "data") == lines(host, "etc/f") == ["2.0.0"]
    assert lines(host)[-1] == "later 2.0.0"  # and not the step after it
    assert "no such unit" in product_status(host).current.incomplete  # type: ignore[union-attr]
    commit = journal(host).last("COMMIT")
    assert "apply: one" in commit["why"]
    assert commit["said"] == ["apply: one"]


def test_a_command_that_only_finishes_a_release_says_that_it_is_incomplete(host: Context) -> None:
    cut(host, "COMMIT", release=unhealthy(TWO))
    (found,) = recovered(host)
    assert (found.outcome, found.incomplete) == ("finished", True)
    assert "not healthy" in found.why


def test_the_health_of_the_release_is_watched_at_the_end_of_the_way(host: Context) -> None:
    cut(host, "FORWARD", release=unhealthy(TWO))
    (found,) = recovered(host)
    assert found.incomplete
    assert "not healthy" in found.why
    assert lines(host)[-1] == "later 2.0.0"


def test_a_reason_longer_than_its_room_is_kept_cut(host: Context) -> None:
    many = SCRIPT + b'for n in 1 2 3 4 5 6 7 8; do printf "%0400d\\n" $n; done; exit 1\n'
    with pytest.raises(IncompleteError):
        install_steps(host, stepped("2.0.0", 2, FORWARD, LATER, later=many))
    assert len(journal(host).last("COMMIT")["why"]) <= 2000


@pytest.mark.parametrize("cut_before", [False, True], ids=["at once", "by who comes next"])
def test_an_end_that_cannot_be_written_is_not_undone_and_gone_on_with_later(
    host: Context, cut_before: bool
) -> None:
    full = Refusing(Path(host.system.root), "COMMIT", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    if cut_before:
        cut(host, "FORWARD")
    what = f"its commit cannot be recorded: {LOG}: No space left"
    with pytest.raises(NotUndoneError, match=re.escape(what)) as caught:
        recovered(context(full)) if cut_before else install_steps(context(full), TWO)
    assert caught.value.where == LOG
    assert "it continues from here" in caught.value.hint
    assert not Journal.open(host.system, LOG).has("DISTRUST")
    assert recovered(host) == [Recovered("000002", "rolled-forward")]
    assert lines(host)[2:] == ["migrate 2.0.0", "later 2.0.0"]


def test_a_sync_of_the_end_that_fails_is_written_down(host: Context) -> None:
    lost = SyncError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(NotUndoneError, match="its commit cannot be recorded"):
        install_steps(context(Refusing(Path(host.system.root), "COMMIT", lost)), TWO)
    assert Journal.open(host.system, LOG).has("DISTRUST")
    with pytest.raises(NotUndoneError, match="the disk failed to write"):
        recovered(host)
    assert recovered(context(Rebooted(Path(host.system.root)))) == [Recovered("000002", "rolled-forward")]


def test_the_images_of_the_new_release_are_seen_to_before_it_goes_on(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(host, "FORWARD")
    seen = list[tuple[str, bool]]()

    def see(_context: Context, open_: Journal, stands: State) -> None:
        seen.append((stands.current.version if stands.current else "", open_.has("COMMIT")))

    monkeypatch.setattr(recovery, "_repair_images", see)
    recovered(host)
    assert seen[0] == ("2.0.0", False)
    assert lines(host)[-1] == "later 2.0.0"


def test_a_step_that_can_be_undone_is_the_rule(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, SAVED, migrate=MIGRATE))
    assert not journal(host).has("FORWARD")


def test_the_point_of_no_return_and_the_end_are_each_logged_once(host: Context) -> None:
    second = {**FORWARD, "apply": "deploy/second.sh"}
    install_steps(host, stepped("2.0.0", 2, FORWARD, second, LATER))
    assert lines(host)[2:] == ["migrate 2.0.0", "second 2.0.0", "later 2.0.0"]
    assert types(host) == ["FORWARD", *["INTENT", "DONE"] * 3, "COMMIT", "END"]
    assert len(journal(host).last("FORWARD")["rest"]) == 3


def test_a_new_release_without_its_journal_is_installed_again_as_the_guide_says(host: Context) -> None:
    cut(host, "migrate.sh")
    base = Path(host.system.root) / "var/lib/waybill/lan-chat"
    for suffix in ("log", "backup"):
        (base / f"txn/000002.{suffix}").rename(base.parent / suffix)
    (old,) = [path.name for path in (base / "releases").iterdir() if path.name.startswith("1-")]
    (base / "current").unlink()
    (base / "current").symlink_to(f"releases/{old}")
    install(host, TWO, Options(only=frozenset({"script"}), drift=Policy.parse(["replace"])))
    assert lines(host, "data") == lines(host, "etc/f") == ["2.0.0"]
    found = product_status(host)
    assert (found.current.version, found.drift) == ("2.0.0", ())  # type: ignore[union-attr]
