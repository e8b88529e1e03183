"""The method `salt` with real Salt: states come, change, are undone and go, and secrets stay in memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError, IncompleteError, RolledBackError
from installer.core.format.manifest import Deployment
from installer.host.context import Context
from tests.rig.needs import needs
from tests.rig.releases import (
    Member,
    Notes,
    ReleaseSpec,
    context,
    install,
    plan_for,
    remove,
    roll_back,
    root,
)
from tests.rig.salted import INIT, ONLY, States, WithSalt, stated

WORD = "open-sesame-4711"
FAILS = (
    INIT
    + """\
{{ root }}/srv/of-2:
  file.touch: []
no database:
  cmd.run:
    - name: echo the login is {{ pillar.password }} >&2; exit 3
    - require:
      - file: {{ root }}/srv/of-2
never begun:
  test.nop:
    - require:
      - cmd: no database
"""
)
PILLAR = "level: {{ level | tojson }}\npassword: {{ password | tojson }}\n"
DEFAULTS = 'level: "0"\npassword: none\n'


def release(number: int, init: str = INIT, **said: str) -> ReleaseSpec:
    return stated(number, States(init, pillar=PILLAR, defaults=DEFAULTS, **said))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host with the first release, and with a site whose password is in a private file."""
    needs("salt")
    top = tmp_path_factory.mktemp("salt") / "host"
    secrets = top / "etc/waybill/lan-chat/secrets"
    secrets.mkdir(parents=True)
    (secrets / "chat").write_text(f"{WORD}\n")
    (secrets / "chat").chmod(0o600)
    (top / "etc/waybill/lan-chat/values.yaml").write_text('level: "7"\npassword: secret://file/chat\n')
    install(context(WithSalt(top)), release(1), ONLY)
    return top


@pytest.fixture
def host(installed: Path, tmp_path: Path) -> Iterator[Context]:
    """Give a copy of that host; nothing of a run is left in memory."""
    shutil.copytree(installed, tmp_path / "host", symlinks=True)
    within = context(WithSalt(tmp_path / "host"))
    yield within
    assert not list(Path("/dev/shm").glob(f".waybill.run-{os.getpid()}-*"))


def level(within: Context) -> str:
    return (root(within) / "srv/level").read_text().strip()


def said(within: Context) -> str:
    assert isinstance(within.progress, Notes)
    return "\n".join(within.progress.lines)


def plan_lines(within: Context, spec: ReleaseSpec) -> str:
    methods = plan_for(within, spec, ONLY).methods
    return "\n".join(line for each in methods if each.name == "salt" for line in each.lines)


def test_a_release_changes_the_host_is_rolled_back_and_goes(host: Context) -> None:
    assert level(host) == "1.0.0 7"
    assert plan_lines(host, release(1)) == ""
    lines = plan_lines(host, release(2))
    assert "srv/level (file.managed)" in lines
    assert "-1.0.0 7\n    +2.0.0 7" in lines
    assert "the state lan_chat.undo is applied, then the states of the old release" in lines
    install(host, release(2), ONLY)
    assert level(host) == "2.0.0 7"
    assert "srv/level updated" in said(host)
    roll_back(host, options=ONLY)
    assert level(host) == "1.0.0 7"
    found = remove(host).removal
    assert not (root(host) / "srv").exists()
    assert found is not None
    (row,) = [row for row in found.rows if row.kind == "Salt states"]
    assert (row.how, row.what) == (
        "gone",
        "the state lan_chat.undo was applied; Waybill cannot check its result",
    )


def test_secrets_reach_states_and_no_disk_command_line_or_message(host: Context) -> None:
    login = root(host) / "srv/login"
    assert login.read_text() == f"password={WORD}\n"
    with pytest.raises(RolledBackError) as caught:
        install(host, release(2, FAILS), ONLY)
    error = str(caught.value)
    assert "state no database (cmd.run) failed" in error
    assert "the login is ***" in error
    assert "never begun (test.nop): One or more requisite failed" in error
    assert WORD not in error + said(host) + str(caught.value.output)
    assert isinstance(host.system, WithSalt)
    assert not [word for argv in host.system.ran for word in argv if WORD in word]
    files = {path for path in root(host).rglob("*") if path.is_file() and WORD.encode() in path.read_bytes()}
    assert files == {login, root(host) / "etc/waybill/lan-chat/secrets/chat"}
    # Undone by the state of the new release, then by those of the old one.
    assert level(host) == "1.0.0 7"
    assert not (root(host) / "srv/of-2").exists()


def test_without_a_state_for_it_the_old_states_undo_what_both_have(host: Context) -> None:
    with pytest.raises(RolledBackError):
        install(host, release(2, FAILS, undo=""), ONLY)
    assert level(host) == "1.0.0 7"
    assert (root(host) / "srv/of-2").exists()


def test_a_file_root_says_what_is_applied_and_brings_its_own_modules(tmp_path: Path) -> None:
    needs("salt")
    within = context(WithSalt(tmp_path))
    files = {
        "top.sls": "base:\n  '*': [web]\n",
        "web/init.sls": "{{ pillar.waybill.root }}/srv/web:\n  file.managed:\n"
        "    - contents: {{ salt['chats.word']() }}\n    - makedirs: true\n",
        "_modules/chats.py": "def word():\n    return 'of its own module'\n",
    }
    members = {f"deploy/salt/{name}": Member(text.encode(), kind="deploy") for name, text in files.items()}
    step = Deployment("salt", {"state": list(members)})
    install(within, ReleaseSpec("1.0.0", 1, members, deploy=(step,)), ONLY)
    assert (tmp_path / "srv/web").read_text() == "of its own module\n"
    removal = remove(within).removal
    assert removal is not None
    stays = [row.what for row in removal.rows if row.kind == "Salt states" and row.how == "stays"]
    assert stays == ["what these states changed stays: the release has no state to undo it"]


def test_a_first_release_without_a_state_to_undo_it_is_completed_once_the_cause_is_gone(
    tmp_path: Path,
) -> None:
    needs("salt")
    within = context(WithSalt(tmp_path))
    waits = f"ready:\n  cmd.run:\n    - name: mv {tmp_path}/ready {tmp_path}/done\n"
    spec = stated(1, States(INIT + waits, ""))
    assert "what it does cannot be undone" in plan_lines(within, spec)
    with pytest.raises(IncompleteError, match="is INCOMPLETE"):
        install(within, spec, ONLY)
    assert level(within) == "1.0.0 none"
    (tmp_path / "ready").touch()
    install(within, spec, ONLY)
    assert (tmp_path / "done").exists()


def test_a_state_that_hangs_is_killed_with_what_it_started_and_undone(host: Context) -> None:
    # A terminal that it could wait at is not there: `cat` ends at once.
    run = f"setsid sh -c 'echo $$ > {root(host)}/pid; exec sleep 1000' & cat; exec sleep 1000"
    waits = INIT + f'wait:\n  cmd.run:\n    - name: "{run}"\n'
    spec = stated(2, States(waits, options={"timeout": 15}))
    with pytest.raises(RolledBackError, match="timed out after 15 s and was killed") as caught:
        install(host, spec, ONLY)
    assert caught.value.cause == "timeout"
    pid = int((root(host) / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
    assert level(host) == "1.0.0 7"


@pytest.mark.parametrize(
    ("init", "what"),
    [
        ("{{ pillar.nothing.at_all }}:\n  test.nop: []\n", "has no attribute 'nothing'"),
        ("a:\n  test.nop:\n - b", "did not find expected key"),
        ("a:\n  chats.tuned: []\n", "State 'chats.tuned' was not found in SLS 'lan_chat'"),
        ("include: [elsewhere]\n", "elsewhere"),
    ],
    ids=["missing-value", "no-yaml", "unknown-function", "missing-state"],
)
def test_states_that_cannot_be_applied_are_refused_by_the_plan(host: Context, init: str, what: str) -> None:
    with pytest.raises(HostNotReadyError, match=what):
        install(host, release(2, init), ONLY)
    assert level(host) == "1.0.0 7"


def test_a_host_without_salt_or_with_another_version_is_refused(host: Context, tmp_path: Path) -> None:
    spec = stated(2, States(options={"salt_version": ">=9000, <9001"}))
    with pytest.raises(HostNotReadyError, match="but the release needs >=9000, <9001"):
        install(host, spec, ONLY)
    host.system.which = lambda tool: None  # type: ignore[method-assign]
    with pytest.raises(HostNotReadyError, match="salt-call: is not installed"):
        install(host, spec, ONLY)
