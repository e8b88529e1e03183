"""What is said of a host whose journal, state or lock was damaged or removed: never that all is well."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from installer.audit.recorder import AuditedCommand, audited
from installer.commands import status
from installer.commands.common import host_look, unfinished
from installer.commands.common.recovery import exclusive
from installer.commands.common.session import Session
from installer.core.errors import BusyError, HostNotReadyError, NotUndoneError
from installer.host.context import Context
from installer.host.system import System
from installer.transaction.activity import described
from installer.transaction.journal import Journal
from tests.rig.auditlogs import records
from tests.rig.chatd import ONE, THREE, TWO
from tests.rig.faulty import kill_at
from tests.rig.journals import rewritten
from tests.rig.needs import needs
from tests.rig.releases import Notes, context, install, root, stage, state_file

pytestmark = pytest.mark.host(ONE, TWO)


@pytest.fixture
def journal(host: Context) -> Path:
    """The journal of an upgrade of that host that was killed after files were replaced."""
    kill_at(host, THREE, "rename /opt/.waybill")
    return state_file(host, "txn/000003.log")


def from_the_future(path: Path) -> None:
    def newer(value: dict[str, object]) -> None:
        if value["type"] == "BEGIN":
            for name in ("new", "old", "verb", "state"):
                del value[name]
            value["schema"] = "waybill/journal/v9"

    rewritten(path, newer)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (Path.unlink, "its journal is missing"),
        (lambda path: path.write_bytes(b""), "the journal is empty"),
        (flipped, "record 1 of the journal is damaged"),
        (lambda path: path.write_bytes(path.read_bytes().rstrip(b"\0")), "not the"),
        (from_the_future, "the journal was written by another version of the installer (waybill/journal/v9"),
    ],
    ids=["deleted", "emptied", "flipped", "cut off", "of a newer installer"],
)
def test_an_open_journal_that_recovery_refuses_is_told_beside_what_runs(
    host: Context, journal: Path, spoil: Callable[[Path], None], what: str
) -> None:
    spoil(journal)
    found = status.product_status(host)
    assert found.current is not None
    assert found.current.version == "2.0.0"
    assert found.unfinished.startswith("transaction 000003: ")
    assert what in found.unfinished
    assert "install recover" in found.unfinished
    with pytest.raises(NotUndoneError), exclusive(host):
        pass


def test_a_journal_that_waits_for_a_reboot_is_told(host: Context, journal: Path) -> None:
    opened = Journal.open(host.system, host.layout.journal("000003"))
    opened.append("DISTRUST", boot=host.system.boot_id())
    assert "the disk failed to write" in status.product_status(host).unfinished


def test_a_state_that_was_deleted_is_no_host_without_a_release(host: Context) -> None:
    state_file(host, "state.json").unlink()
    with pytest.raises(NotUndoneError, match="the state is missing") as caught:
        status.product_status(host)
    assert caught.value.hint == "run `install recover`: it rebuilds the state from the journal"
    with exclusive(host):
        pass
    assert status.product_status(host).drift == ()


def test_a_history_without_state_journals_and_releases_is_no_new_host(host: Context) -> None:
    state_file(host, "state.json").unlink()
    for name in ("txn", "releases"):
        shutil.rmtree(state_file(host, name))
    with pytest.raises(NotUndoneError, match="the state is missing, and no journal contains it"):
        status.product_status(host)
    with (
        pytest.raises(NotUndoneError, match="the state is missing, and no journal contains it"),
        exclusive(host),
    ):
        pass


def test_a_link_to_a_release_where_nothing_runs_is_drift(tmp_path: Path) -> None:
    host = context(System(tmp_path))
    with exclusive(host):
        pass
    state_file(host, "current").symlink_to("/etc")
    (problem,) = status.product_status(host).drift
    assert (problem.where, problem.what) == (host.layout.current, "points to /etc; it should not be there")


@pytest.mark.parametrize("left", ["state.json", "txn", "releases", "history.jsonl"])
def test_a_product_is_known_by_whatever_is_left_of_it(host: Context, left: str) -> None:
    for path in state_file(host, "").iterdir():
        if path.name != left:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    assert Session(host.system).products() == ["lan-chat"]


def test_a_lock_that_was_removed_hides_no_product(host: Context, journal: Path) -> None:
    state_file(host, "lock").unlink()
    assert Session(host.system).products() == ["lan-chat"]
    assert status.product_status(host).unfinished
    assert journal.exists()


def test_what_is_mounted_there_is_no_product(host: Context) -> None:
    (root(host) / "var/lib/waybill/lost+found").mkdir()
    assert Session(host.system).products() == ["lan-chat"]


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (Path.mkdir, "a file is needed here, but a directory exists: move the directory away"),
        (
            lambda path: path.symlink_to("/etc"),
            "a file is needed here, but a link exists: move the link away",
        ),
    ],
    ids=["directory", "link"],
)
def test_something_else_in_the_place_of_the_lock_is_named(
    host: Context, make: Callable[[Path], None], hint: str
) -> None:
    state_file(host, "lock").unlink()
    make(state_file(host, "lock"))
    with pytest.raises(HostNotReadyError) as caught, exclusive(host):
        pass
    assert caught.value.where == host.layout.lock
    assert caught.value.hint.startswith(hint)


def test_a_file_in_the_place_of_the_journals_is_named_whole(host: Context) -> None:
    shutil.rmtree(state_file(host, "txn"))
    state_file(host, "txn").write_text("somebody's")
    with pytest.raises(HostNotReadyError, match="cannot write: File exists") as caught, exclusive(host):
        pass
    assert caught.value.where == host.layout.transactions
    assert state_file(host, "txn").read_text() == "somebody's"


@pytest.mark.parametrize("name", ["releases", "staging", "rendered"])
def test_a_file_in_the_place_of_a_directory_is_named_and_stops_no_recovery(host: Context, name: str) -> None:
    shutil.rmtree(state_file(host, name), ignore_errors=True)
    state_file(host, name).write_text("somebody's")
    with exclusive(host):
        pass
    assert state_file(host, name).read_text() == "somebody's"
    assert isinstance(host.progress, Notes)
    assert f"not cleared yet: {host.layout.base}/{name}: " in "\n".join(host.progress.lines)
    assert [each.where for each in status.product_status(host).leftover] == [f"{host.layout.base}/{name}"]


def test_a_status_that_cannot_be_looked_at_is_no_fault_of_ours(host: Context) -> None:
    shutil.rmtree(state_file(host, "txn"))
    state_file(host, "txn").write_text("somebody's")
    with pytest.raises(HostNotReadyError, match="cannot be read: Not a directory") as caught:
        status.product_status(host)
    assert caught.value.where == host.layout.transactions


def test_a_file_in_the_place_of_all_products_is_named(tmp_path: Path) -> None:
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/waybill").write_text("somebody's")
    with pytest.raises(HostNotReadyError, match="cannot be read: Not a directory") as caught:
        Session(System(tmp_path)).products()
    assert caught.value.where == "/var/lib/waybill"


def test_the_audit_log_does_not_say_that_nothing_was_changed_where_a_journal_was_removed(
    host: Context, journal: Path
) -> None:
    journal.unlink()
    doing = AuditedCommand("recover", "lan-chat")
    with pytest.raises(NotUndoneError), audited(host.system, doing, str), exclusive(host):
        pass
    state_file(host, "txn/000003.backup").rename(root(host) / "aside")
    with exclusive(host):
        pass
    ended = records(root(host))[-1]
    assert (ended["transaction"], ended["result"], ended["exit"]) == ("000003", "unknown", 21)
    assert ended["reason"] == "its journal was removed by hand"


def test_what_a_power_cut_left_of_a_new_head_of_the_audit_log_goes_with_recovery(host: Context) -> None:
    spare = root(host) / "var/lib/waybill/audit.head.new"
    spare.write_bytes(b"")
    with exclusive(host):
        assert not spare.exists()


HOLD = (
    "import fcntl, os, sys\n"
    "fd = os.open(sys.argv[1], os.O_RDWR)\n"
    "fcntl.flock(fd, fcntl.LOCK_EX)\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


@contextmanager
def working(host: Context) -> Iterator[int]:
    """Holds the lock of the product in another process; yields its id."""
    words = [sys.executable, "-c", HOLD, state_file(host, "lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        yield other.pid
        other.stdin.close()


@pytest.mark.usefixtures("journal")
def test_a_transaction_that_runs_is_in_progress_and_its_work_is_no_drift(host: Context) -> None:
    with working(host) as pid:
        found = status.product_status(host)
        assert found.activity is not None
        assert (found.activity.transaction, found.activity.what) == ("000003", "upgrade 2.0.0 → 3.0.0")
        assert (found.unfinished, found.drift) == ("", ())
        text = found.text()
        assert "  in progress: upgrade 2.0.0 → 3.0.0 since 20" in text
        assert f" UTC, by process {pid} (python" in text
        assert "  drift      not looked at while the host is being changed" in text
        assert "UNFINISHED" not in text
        assert "DRIFT" not in text
        document = found.as_json()["in_progress"]
        assert (document["transaction"], document["what"]) == ("000003", "upgrade 2.0.0 → 3.0.0")
        assert [each["pid"] for each in document["processes"]] == [pid]
        # To look stops nobody: the lock is still with the other one, and free once it has ended.
        with pytest.raises(BusyError), exclusive(host):
            pass
    found = status.product_status(host)
    assert found.activity is None
    assert "transaction 000003 (upgrade 2.0.0 → 3.0.0) was interrupted" in found.unfinished
    assert "UNFINISHED" in found.text()


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(
    ("sees", "said"),
    [
        (True, "was interrupted; run `install recover`: it completes or undoes the transaction"),
        (
            False,
            (
                "was interrupted, or is running where this user cannot see it; run `install recover`: it "
                "completes or undoes the transaction, or says that another command is running"
            ),
        ),
    ],
    ids=["root", "another user"],
)
def test_only_who_cannot_see_every_process_is_told_that_a_transaction_may_still_run(
    host: Context, monkeypatch: pytest.MonkeyPatch, sees: bool, said: str
) -> None:
    monkeypatch.setattr(unfinished, "sees_every_process", lambda: sees)
    found = status.product_status(host)
    assert found.unfinished == f"transaction 000003 (upgrade 2.0.0 → 3.0.0) {said}"


LOOKS = "from installer.host.kernel import sees_every_process as sees; print(sees())"


def test_root_in_a_container_does_not_see_every_process() -> None:
    needs("unshare")
    for apart in ([], ["unshare", "--pid", "--fork", "--mount-proc"]):
        words = [*apart, sys.executable, "-c", LOOKS]
        ran = subprocess.run(words, capture_output=True, text=True, check=True)
        contained = bool(apart) or Path("/proc/self/ns/pid").stat().st_ino != 0xEFFFFFFC
        assert ran.stdout == f"{not contained}\n"


def test_a_command_that_still_asks_has_changed_nothing_and_drift_is_told(host: Context) -> None:
    stage(root(host), THREE)
    (root(host) / "opt/d").write_bytes(b"edited")
    with working(host) as pid:
        found = status.product_status(host)
        assert [each.where for each in found.drift] == ["/opt/d"]
        assert f"  in progress: a command that has changed nothing yet, by process {pid} (" in found.text()


@pytest.mark.parametrize(
    ("begin", "what"),
    [
        ({"verb": "apply", "old": "", "new": {"version": "1.0.0", "name": "1-a"}}, "installation of 1.0.0"),
        ({"verb": "apply", "old": "1-a", "new": {"version": "1.0.0", "name": "1-a"}}, "repair of 1.0.0"),
        ({"verb": "rollback", "old": "1-a", "new": {"version": "0.9", "name": "0"}}, "rollback 1.0.0 → 0.9"),
        ({"verb": "remove", "old": "1-a", "new": None}, "removal of 1.0.0"),
    ],
)  # fmt: skip
def test_each_kind_of_transaction_has_its_words(begin: dict[str, object], what: str) -> None:
    state = {"releases": [{"name": "1-a", "version": "1.0.0"}]}
    assert described({**begin, "state": state, "at": 7}) == (what, 7)


def test_a_release_that_is_installed_while_status_looks_is_no_drift(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = [], host_look.drift

    def meanwhile(*words: Any) -> Any:
        if not looks:
            install(host, THREE)
        looks.append(words)
        return look(*words)

    monkeypatch.setattr(host_look, "drift", meanwhile)
    found = status.product_status(host)
    assert len(looks) == 2
    assert found.current is not None
    assert (found.current.version, found.drift, found.leftover) == ("3.0.0", (), ())
