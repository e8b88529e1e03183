"""All references of a run at once: every problem told, every value hidden, none of it in a core dump."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError
from installer.host import syscalls
from installer.host.context import Context
from installer.secrets import resolve as module
from installer.secrets.references import Reference
from installer.secrets.resolve import Resolution, examine
from installer.secrets.store import Secret
from installer.shared.secrecy import known
from tests.rig.releases import root

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def secrets(host: Context) -> Path:
    """The directory of the product's secrets."""
    place = root(host) / "etc/waybill/lan-chat/secrets"
    place.mkdir(parents=True)
    return place


def put(secrets: Path, name: str, value: str) -> Reference:
    (secrets / name).write_text(value)
    (secrets / name).chmod(0o600)
    return Reference("file", name)


def test_the_secrets_of_all_stores_come_together(host: Context, secrets: Path) -> None:
    store = root(host) / "etc/credstore"
    store.mkdir()
    (store / "key").write_text("of-systemd-22")
    (store / "key").chmod(0o600)
    wanted = [put(secrets, "db", "hunter22"), Reference("systemd-credential", "key")]
    assert [examine(host, wanted).secrets[each].reveal() for each in wanted] == ["hunter22", "of-systemd-22"]


def test_each_value_is_hidden_from_then_on(host: Context, secrets: Path) -> None:
    examine(host, [put(secrets, "db", "hunter22"), put(secrets, "key", "a-long-key-1\nits-second-line-22\n")])
    assert host.secrets.hide("hunter22 its-second-line-22 aHVudGVyMjI=") == "*** *** ***"


def test_all_that_cannot_be_resolved_is_told_at_once_and_no_value(host: Context, secrets: Path) -> None:
    wanted = [put(secrets, "good", "hunter22"), put(secrets, "open", "hunter33"), Reference("file", "gone")]
    (secrets / "open").chmod(0o644)
    found = examine(host, wanted)
    assert list(found.secrets) == wanted[:1]
    assert [(each.where, each.what) for each in found.problems()] == [
        ("secret://file/gone", "/etc/waybill/lan-chat/secrets/gone: does not exist"),
        (
            "secret://file/open",
            "/etc/waybill/lan-chat/secrets/open: can be read or changed by others (mode 0644)",
        ),
    ]
    assert "hunter" not in f"{found}"


def test_references_that_lead_in_a_circle_are_told_and_not_followed(host: Context, secrets: Path) -> None:
    wanted = [put(secrets, "one", "secret://file/two"), put(secrets, "two", "secret://file/one\n")]
    wanted.append(put(secrets, "self", "secret://file/self"))
    found = examine(host, wanted)
    assert found.secrets == {}
    assert {each.what for each in found.unresolved.values()} == {
        "is a reference to a secret, not a secret: references are not followed"
    }
    (problem,) = found.problems()
    assert problem.where == "secret://file/one, secret://file/self, secret://file/two"
    # It is no secret, and hiding it would hide the reference in every message.
    assert host.secrets.hide("secret://file/two") == "secret://file/two"


def test_one_problem_of_many_references_is_told_once(host: Context) -> None:
    wanted = [Reference("vault", "secret/app/db", f"key{number}") for number in range(5)]
    (problem,) = examine(host, wanted).problems()
    assert problem.where == (
        "secret://vault/secret/app/db#key0, secret://vault/secret/app/db#key1, "
        "secret://vault/secret/app/db#key2 and 2 more"
    )
    assert problem.what.startswith("/etc/waybill/vault.yaml does not exist")


def test_a_value_too_short_to_be_hidden_is_warned_of(host: Context, secrets: Path) -> None:
    found = examine(host, [put(secrets, "pin", "123")])
    (note,) = found.notes
    assert note == (
        "secret://file/pin is shorter than 4 characters: it is hidden only where its name stands, "
        "not in the output of scripts"
    )


def test_no_references_touch_nothing(host: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "forbid_dumps", lambda: pytest.fail("nothing to protect"))
    assert examine(host, []) == Resolution({}, {})


def test_their_number_is_bounded_before_anything_is_read(host: Context) -> None:
    with pytest.raises(HostNotReadyError, match="1001 secrets, more than the 1000"):
        examine(host, [Reference("file", f"name{number}") for number in range(1001)])


def test_more_than_can_be_hidden_is_refused(
    host: Context, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MOST", 3)
    wanted = [put(secrets, f"key{number}", f"hunter2{number}") for number in range(4)]
    with pytest.raises(HostNotReadyError, match="cannot be hidden in messages and logs: more than 3 values"):
        examine(host, wanted)


def test_a_secret_shows_its_reference_only() -> None:
    secret = Secret(Reference("file", "db"), "hunter22")
    assert f"{secret} {secret!r} {secret!s} {[secret]}" == " ".join(["<secret://file/db>"] * 3) + (
        " [<secret://file/db>]"
    )
    for write in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as error:
            write(secret)
        assert "hunter22" not in "".join(traceback.format_exception(error.value))


def test_a_process_that_must_be_dumpable_resolves_nothing(
    host: Context, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(module.syscalls, "forbid_dumps", refused)
    with pytest.raises(HostNotReadyError, match="could leave its memory in a core dump"):
        examine(host, [put(secrets, "db", "hunter22")])
    assert host.secrets.hide("hunter22") == "hunter22"


PROGRAM = """
import os, resource, signal, sys, time
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.secrets.references import Reference
from installer.secrets.resolve import examine
from installer.shared.secrecy import known
from installer.shared.progress import Progress
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
if sys.argv[2] != "nothing":
    context = Context(System(sys.argv[1]), Layout("lan-chat"), Progress())
    found = examine(context, [Reference("file", "db")])
if sys.argv[2] == "forked":
    # As the child that renders templates is: what becomes of it is the status of this process.
    if child := os.fork():
        print("ready", flush=True)
        os.kill(child, signal.SIGABRT)
        sys.exit(os.WCOREDUMP(os.waitpid(child, 0)[1]))
    time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.needs("core-dumps")
def test_a_child_that_is_forked_with_a_secret_leaves_no_core_dump(
    host: Context, secrets: Path, tmp_path: Path
) -> None:
    put(secrets, "db", "hunter22")
    place = tmp_path / "cwd"
    place.mkdir()
    command = [sys.executable, "-c", PROGRAM, root(host), "forked"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, cwd=place, env=env, stdout=subprocess.PIPE, check=False).returncode == 0
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("what", "dumped"), [("nothing", True), ("resolved", False)])
@pytest.mark.needs("core-dumps")
def test_a_process_with_a_secret_leaves_no_core_dump(
    host: Context, secrets: Path, tmp_path: Path, what: str, dumped: bool
) -> None:
    put(secrets, "db", "hunter22")
    place = tmp_path / "cwd"
    place.mkdir()
    command = [sys.executable, "-c", PROGRAM, root(host), what]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=place, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGABRT)
        _, status = os.waitpid(process.pid, 0)
        process.returncode = -signal.SIGABRT
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert os.WCOREDUMP(status) == dumped
    if not dumped:
        assert list(place.iterdir()) == []
