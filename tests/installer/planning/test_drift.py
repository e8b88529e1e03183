"""Files that were edited by hand: found before anything is done, and treated as the operator says."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.status import Status, product_status
from installer.core.errors import HostNotReadyError, UsageError
from installer.host.context import Context
from installer.planning import plan_text
from installer.planning.drift import Policy
from installer.planning.plan import Options
from tests.rig.faulty import FaultySystem, Killed, snapshot
from tests.rig.releases import Member, ReleaseSpec, context, install, planned, remove, roll_back, root

pytestmark = pytest.mark.host(system=FaultySystem)

CONF, NEW, UNIT, DAEMON = "etc/chat.conf", "etc/chat.conf.waybill-new", "etc/chat/extra", "opt/chat/chatd"
KEEP, REPLACE = (Options(drift=Policy(word)) for word in ("keep", "replace"))  # type: ignore[arg-type]
MINE = "port: 9\npassword: topsecret\n"


def release(number: int, port: int = 0) -> ReleaseSpec:
    conf = f"port: {port or number}\npassword: hunter{{{{ 1 }}}}\n".encode()
    members = {
        "bin/linux-amd64/chatd": Member(b"daemon %d" % number, f"/{DAEMON}", 0o755),
        "config/chat.conf": Member(conf, f"/{CONF}", 0o600, "template"),
        "config/extra": Member(b"extra %d\n" % number, f"/{UNIT}", 0o644, "doc"),
    }
    return ReleaseSpec(f"{number}.0.0", number, members)


def edited(within: Context, *specs: ReleaseSpec) -> Path:
    for spec in specs or (release(1),):
        install(within, spec)
    path = root(within) / CONF
    path.write_text(MINE)
    return path


def looked(within: Context) -> Status:
    found = product_status(within)
    assert found.drift == (), found.drift
    return found


def test_an_edited_file_is_refused_by_default_with_the_remedies_and_nothing_changes(host: Context) -> None:
    edited(host)
    before = snapshot(root(host), besides=("var",))
    with planned(host, release(2)) as plan, pytest.raises(HostNotReadyError) as raised:
        execute_plan(host, plan)
    assert raised.value.exit_code == 15
    (problem,) = raised.value.problems
    assert str(problem) == (
        "/etc/chat.conf: was changed on this host (has different content)\n"
        "  hint: put the change into the values file of the site; to keep it: --on-drift keep; "
        "to replace it (a copy is kept): --on-drift replace"
    )
    assert snapshot(root(host), besides=("var",)) == before


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (None, "/etc/chat.conf has different content: refused"),
        (KEEP, f"/etc/chat.conf has different content: kept; the new version is written to /{NEW}"),
        (REPLACE, "/etc/chat.conf has different content: replaced; a copy is kept: /var/lib/waybill/"),
    ],
    ids=["refuse", "keep", "replace"],
)  # fmt: skip
def test_the_plan_says_what_becomes_of_it_and_shows_the_difference(
    host: Context, options: Options | None, line: str
) -> None:
    edited(host)
    with planned(host, release(2), options) as plan:
        text = plan_text.plan_text(plan)
        assert line in text
        assert "-port: 9\n" in text
        assert "+port: 2\n" in text
        assert "topsecret" not in text
        # A diff that leads to the operator's own file would show a change that does not happen.
        to = f"/{NEW} (your chat.conf is not changed)" if options is KEEP else f"/{CONF}"
        assert f"--- /{CONF}\n+++ {to}\n" in text
        (row,) = plan.as_json()["edited"]
        assert row["path"] == f"/{CONF}"


def test_a_kept_file_stays_beside_the_version_of_the_release_and_is_no_drift(host: Context) -> None:
    path = edited(host)
    install(host, release(2), KEEP)
    assert path.read_text() == MINE
    assert (root(host) / NEW).read_text() == "port: 2\npassword: hunter1\n"
    assert (root(host) / NEW).stat().st_mode & 0o777 == 0o600
    assert (root(host) / DAEMON).read_bytes() == b"daemon 2"
    found = looked(host)
    assert [each.path for each in found.edited] == [f"/{CONF}"]
    assert [each["path"] for each in found.as_json()["edited"]] == [f"/{CONF}"]
    assert (
        f"edited     /{CONF} has different content: kept; the new version is written to /{CONF}.waybill-new"
        in found.text()
    )
    path.write_text("edited once more\n")
    assert len(looked(host).edited) == 1
    path.unlink()
    assert [(p.where, p.what) for p in product_status(host).drift] == [(f"/{CONF}", "is missing")]


def test_a_release_with_a_kept_file_that_is_applied_again_is_nothing_to_do(host: Context) -> None:
    edited(host)
    install(host, release(2), KEEP)
    assert not install(host, release(2)).changed
    (root(host) / NEW).unlink()
    assert not install(host, release(2)).changed
    assert not (root(host) / NEW).exists()


def test_what_was_kept_is_asked_for_again_only_when_the_release_s_own_version_changes(host: Context) -> None:
    path = edited(host)
    install(host, release(2), KEEP)
    install(host, release(3, port=2))
    assert path.read_text() == MINE
    with planned(host, release(4)) as plan:
        assert [problem.where for problem in plan.problems] == [f"/{CONF}"]
    install(host, release(4), KEEP)
    assert (root(host) / NEW).read_text() == "port: 4\npassword: hunter1\n"
    assert path.read_text() == MINE


@pytest.mark.parametrize("merge", ["by hand", "by renaming the new one over it"])
def test_a_kept_file_that_was_merged_belongs_to_the_release_again(merge: str, host: Context) -> None:
    path = edited(host)
    install(host, release(2), KEEP)
    if merge == "by hand":
        path.write_bytes((root(host) / NEW).read_bytes())
    else:
        (root(host) / NEW).rename(path)
    assert looked(host).edited == ()
    install(host, release(3))
    assert path.read_text() == "port: 3\npassword: hunter1\n"
    assert not (root(host) / NEW).exists()
    assert looked(host).edited == ()


def test_a_copy_of_a_replaced_file_is_kept(host: Context) -> None:
    path = edited(host)
    install(host, release(2), REPLACE)
    assert path.read_text() == "port: 2\npassword: hunter1\n"
    (copy,) = (root(host) / "var/lib/waybill/lan-chat/kept").rglob("chat.conf")
    assert copy.read_text() == MINE
    assert looked(host).edited == ()


def test_rollback_keeps_what_was_kept_without_being_told_again(host: Context) -> None:
    path = edited(host)
    install(host, release(2), KEEP)
    roll_back(host)
    assert path.read_text() == MINE
    assert (root(host) / NEW).read_text() == "port: 1\npassword: hunter1\n"
    assert (root(host) / DAEMON).read_bytes() == b"daemon 1"
    assert len(looked(host).edited) == 1
    roll_back(host, "2.0.0", options=REPLACE)
    assert path.read_text() == "port: 2\npassword: hunter1\n"
    assert not (root(host) / NEW).exists()


def test_rollback_refuses_what_was_edited_since(host: Context) -> None:
    path = edited(host, release(1), release(2))
    with pytest.raises(HostNotReadyError):
        roll_back(host)
    roll_back(host, options=KEEP)
    assert path.read_text() == MINE
    assert (root(host) / DAEMON).read_bytes() == b"daemon 1"


def test_remove_leaves_what_was_kept_and_takes_the_release_s_own_away(host: Context) -> None:
    path = edited(host)
    install(host, release(2), KEEP)
    remove(host)
    assert path.read_text() == MINE
    assert not (root(host) / NEW).exists()
    assert not (root(host) / "opt").exists()


def test_remove_takes_what_was_edited_away_with_a_copy_unless_told_otherwise(host: Context) -> None:
    path = edited(host)
    with pytest.raises(HostNotReadyError):
        remove(host, Options(drift=Policy("refuse")))
    assert path.read_text() == MINE
    remove(host)
    assert not path.exists()
    (copy,) = (root(host) / "var/lib/waybill/lan-chat/kept").rglob("chat.conf")
    assert copy.read_text() == MINE
    path = edited(host)
    remove(host, KEEP)
    assert path.read_text() == MINE


def test_every_file_may_have_a_policy_of_its_own(host: Context) -> None:
    path = edited(host)
    (root(host) / UNIT).write_text("my extra\n")
    said = Policy.parse(["keep", f"replace:/{UNIT}"])
    install(host, release(2), Options(drift=said))
    assert path.read_text() == MINE
    assert (root(host) / UNIT).read_text() == "extra 2\n"
    (root(host) / UNIT).write_text("my extra\n")
    with planned(host, release(3), Options(drift=Policy.parse([f"keep:/{UNIT}"]))) as plan:
        assert [problem.where for problem in plan.problems] == [f"/{CONF}"]
        assert "-my extra" in plan_text.plan_text(plan)


@pytest.mark.parametrize("word", ["merge", "keep:relative/path", "", "keep,replace"])
def test_a_word_that_is_no_policy_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="is not valid"):
        Policy.parse([word])


def test_only_configuration_can_be_kept(host: Context) -> None:
    install(host, release(1))
    (root(host) / DAEMON).write_bytes(b"patched")
    with planned(host, release(2), KEEP) as plan:
        (problem,) = plan.problems
        assert problem.where == f"/{DAEMON}"
        assert "--on-drift keep" not in problem.hint
        assert "--on-drift replace" in problem.hint


def test_a_file_that_is_not_ours_can_be_kept_too(host: Context) -> None:
    path = root(host) / CONF
    path.parent.mkdir()
    path.write_text(MINE)
    with planned(host, release(1)) as plan:
        assert [(p.where, p.what) for p in plan.problems] == [
            (f"/{CONF}", "already exists and was not installed by Waybill")
        ]
    install(host, release(1), KEEP)
    assert path.read_text() == MINE
    assert len(looked(host).edited) == 1
    remove(host)
    assert path.read_text() == MINE


def test_what_lies_at_the_other_name_already_is_not_lost(host: Context) -> None:
    edited(host)
    (root(host) / NEW).write_text("somebody's\n")
    install(host, release(2), KEEP)
    assert (root(host) / NEW).read_text() == "port: 2\npassword: hunter1\n"
    (copy,) = (root(host) / "var/lib/waybill/lan-chat/kept").rglob("*.waybill-new")
    assert copy.read_text() == "somebody's\n"


def test_the_edited_content_is_there_after_a_kill_anywhere(host: Context, tmp_path: Path) -> None:
    path = edited(host)
    before = snapshot(tmp_path, besides=("var",))
    for at in range(1, 10_000, 3):
        system = FaultySystem(tmp_path, at, "kill before")
        try:
            install(context(system), release(2), KEEP)
        except Killed:
            with exclusive(host) as (state, _):
                assert path.read_text() == MINE
                if state.current and state.current.version == "1.0.0":
                    assert snapshot(tmp_path, besides=("var",)) == before
        else:
            break
        if state.current and state.current.version == "2.0.0":
            break
    assert at > 60
    assert len(looked(host).edited) == 1


def test_a_record_of_an_older_installer_is_read(host: Context) -> None:
    """Records without `policy` and entries without `blobs` are those of releases installed before."""
    from installer.state.state import Entry

    install(host, release(1))
    with exclusive(host) as (state, _):
        assert state.current
        old = {name: value for name, value in state.current.as_json().items() if name != "blobs"}
        assert Entry.from_json(old) == state.current
