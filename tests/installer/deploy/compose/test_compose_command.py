"""A command of Compose outlives an installer that is killed; whoever comes after it waits."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.digest import sha256_hex
from installer.deploy.compose import command
from installer.deploy.compose.containers import CONTENT
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.host.system import System
from tests.rig.hang import ends
from tests.rig.needs import needs
from tests.rig.releases import Notes, context

RUNS = """
import sys
from installer.deploy.compose.command import alone
from installer.host.system import System
from tests.rig.releases import context
host = context(System(sys.argv[1]))
with alone(host):
    print("begun", flush=True)
    # As Docker's command line does: it starts Compose, which does the work, and outlives it.
    work = "(touch works; until [ -e go ]; do sleep 0.05; done; echo done > done) & wait"
    host.system.run(["sh", "-c", f"cd {sys.argv[1]} && {work}"], timeout=6000)
"""


@pytest.fixture
def killed(host: Context) -> Iterator[Context]:
    """A host on which an installer was killed while its Compose runs, until there is a file `go`."""
    top = Path(host.system.root)
    (top / host.layout.base[1:]).mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", RUNS, str(top)], stdout=subprocess.PIPE) as installer:
        assert installer.stdout
        assert installer.stdout.readline() == b"begun\n"
        with ends():
            while not (top / "works").exists():
                time.sleep(0.02)
        installer.send_signal(signal.SIGKILL)
    yield host
    (top / "go").touch()


class Ending(Notes):
    """Lets the Compose of the killed installer end once somebody says that it is waited for."""

    def __init__(self, go: Path) -> None:
        super().__init__()
        self._go = go

    def note(self, text: str) -> None:
        super().note(text)
        self._go.touch()


def test_the_next_command_waits_for_the_compose_of_a_killed_one(killed: Context) -> None:
    done = Path(killed.system.root) / "done"
    progress = Ending(done.with_name("go"))
    waiting = replace(killed, progress=progress)
    assert not done.exists()
    with ends(), command.alone(waiting):
        assert done.exists()
    (line,) = progress.lines
    assert line == "waiting until the docker compose of an interrupted command has ended"
    with command.alone(waiting):
        pass
    assert len(progress.lines) == 1


def test_a_compose_that_does_not_end_is_named(killed: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "TIMEOUT", 0.1)
    with pytest.raises(StepError, match="still runs") as raised, command.alone(killed):
        pass
    assert "install recover" in raised.value.hint


def test_an_undo_runs_without_the_lock_where_it_cannot_be_made(tmp_path: Path) -> None:
    with command.alone(context(System(tmp_path / "absent"))):
        pass


@pytest.mark.needs("compose")
@pytest.mark.parametrize("linked", [False, True], ids=["nothing is there", "the state is on another disk"])
def test_a_plan_before_the_first_installation_gets_the_paths_of_later(host: Context, *, linked: bool) -> None:
    place = Path(host.system.root)
    if linked:
        (place / "var/lib").mkdir(parents=True)
        (place / "disk").mkdir()
        (place / "var/lib/waybill").symlink_to("/disk")
    (place / "bundle").mkdir()
    data = b"services: {web: {image: 'a:1', volumes: ['../page:/page']}}\n"
    (place / "bundle/compose.yaml").write_bytes(data)
    args = {"tool": [needs("compose")], "project": "p", "env": {}}
    args["files"] = {"compose.yaml": [sha256_hex(data), 0o644]}
    source = command.Source(f"{host.layout.releases}/1-abc/compose.yaml", held="/bundle")
    (volume,) = json.loads(command.answer(host, args, source, "config", "--format", "json").stdout)[
        "services"
    ]["web"]["volumes"]
    state = "disk" if linked else "var/lib/waybill"
    assert volume["source"] == f"{place}/{state}/lan-chat/releases/page"


@pytest.mark.needs("compose")
def test_compose_gets_labels_from_memory_where_the_disk_is_full(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Path(f"{host.system.root}{host.layout.releases}/1-abc")
    directory.mkdir(parents=True)
    (Path(host.system.root) / "run").mkdir()
    data = b"services: {web: {image: 'a:1'}}\n"
    (directory / "compose.yaml").write_bytes(data)
    args = {"tool": [needs("compose")], "project": "p", "env": {}}
    args["files"] = {"compose.yaml": [sha256_hex(data), 0o644]}
    source = command.Source(f"{host.layout.releases}/1-abc/compose.yaml", contents={"web": "abc"})
    mkdir, made = host.system.mkdir, list[str]()

    def full(path: str, mode: int) -> None:
        if path.startswith(host.layout.base):
            raise OSError(errno.ENOSPC, "no space")
        made.append(path)
        mkdir(path, mode)

    for change in (mkdir, full):
        monkeypatch.setattr(host.system, "mkdir", change)
        ended = command.answer(host, args, source, "config", "--format", "json")
        assert json.loads(ended.stdout)["services"]["web"]["labels"] == {CONTENT: "abc"}
    assert [path.startswith("/run/") for path in made] == [True]
    assert not [*(Path(host.system.root) / "run").iterdir()]
