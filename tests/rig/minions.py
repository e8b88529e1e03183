"""Salt as sites run it: the file root of templates/salt, releases of a product, and what states said."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bundler.commands.init import init_project
from installer.core.digest import sha256_hex
from tests.rig.chatreleases import chat_release, write_root
from tests.rig.needs import needs
from tests.rig.process import Daemon

TOP = Path(__file__).parents[2]
RUN = "import sys; from installer.cli.main import main; sys.exit(main())"
INSTALL = f"""\
#!/bin/sh
PYTHONPATH={TOP} exec {sys.executable} -c '{RUN}' "$@"
"""


@dataclass(frozen=True)
class Minion:
    """A minion without a master; a directory stands for its file system.

    Attributes:
        directory: All of it: `root` is what `install` changes, `files` the file root.
    """

    directory: Path

    @classmethod
    def set_up(cls, directory: Path) -> Minion:
        """Add the template to a product, whose directory is the file root, and configure a minion."""
        needs("salt")
        made = cls(directory)
        (directory / "lan-chat").mkdir(parents=True)
        init_project(directory / "lan-chat", "salt")
        write_root(made.files)
        for name in ("root", "tmp"):
            (directory / name).mkdir()
        made.configure("conf", file_client="local", file_roots={"base": [str(made.files)]})
        made.call("saltutil.sync_all")
        return made

    @property
    def files(self) -> Path:
        """The file root."""
        return self.directory / "lan-chat/salt"

    @property
    def executable(self) -> Path:
        """Where `install` is looked for."""
        return self.directory / "install"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the root."""
        return sha256_hex((self.files / "root.json").read_bytes())

    def configure(self, name: str, file: str = "minion", **more: Any) -> Path:
        """Write a configuration of Salt into a directory; return the directory."""
        where = self.directory / name
        where.mkdir()
        waybill = {"executable": str(self.executable), "root": str(self.directory / "root")}
        settings = {
            "id": "minion-1",
            "root_dir": str(where),
            # A minion whose sockets have names that are too long is accepted, and never answers.
            "sock_dir": "/run",
            "waybill": waybill,
            "enable_fqdns_grains": False,
        }
        (where / file).write_text(yaml.safe_dump(settings | more))
        return where

    def put_executable(self) -> None:
        """Put `install` there, as it is in the source tree."""
        self.executable.write_text(INSTALL)
        self.executable.chmod(0o755)

    def release(self, version: str, script: str = "") -> Path:
        """Make a signed release in the file root."""
        return chat_release(self.directory / version, self.files, version, script=script, size=1000)

    @property
    def environment(self) -> dict[str, str]:
        """What its programs know."""
        own = {"HOME": str(self.directory), "TMPDIR": str(self.directory / "tmp")}
        return {**os.environ, "LC_ALL": "C.UTF-8", **own}

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of Salt's programs."""
        return subprocess.run(
            [_program(program), *words], env=self.environment, cwd=self.directory, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400,
        )  # fmt: skip

    def call(self, *words: str) -> Any:
        """Run a function; return what it returned."""
        done = self.run("salt-call", "--local", "-c", "conf", "--out", "json", *words)
        assert done.stdout.startswith("{"), done.stdout + done.stderr
        return json.loads(done.stdout)["local"]

    def apply(self, name: str, states: str, *words: str) -> Mapping[str, Any]:
        """Apply states; return what each said, by its identifier."""
        (self.files / f"{name}.sls").write_text(states)
        return by_identifier(self.call("state.apply", name.replace("/", "."), *words))


@dataclass(frozen=True)
class Mastered:
    """The minion with a master, both on this machine.

    Attributes:
        minion: The minion, whose files the master serves.
    """

    minion: Minion

    def call(self, *words: str) -> tuple[int, Any]:
        """Have the master run a function; return the exit code of `salt`, and what the minion returned."""
        done = self.minion.run("salt", *WAITING, "--out", "json", "minion-1", *words)
        assert done.stdout.startswith("{"), done.stdout + done.stderr + self.logs()
        return done.returncode, json.loads(done.stdout)["minion-1"]

    def logs(self) -> str:
        """Return the ends of what master and minion logged."""
        files = sorted(self.minion.directory.glob("salt-*.log"))
        return "".join(f"\n{file.name}:\n{file.read_text()[-4000:]}" for file in files)

    def cached(self) -> dict[str, tuple[int, int]]:
        """Return what the minion has of the file server: names, with inode and time of change."""
        top = self.minion.directory / "mastered/var/cache/salt/minion/files/base"
        return {
            str(path.relative_to(top)): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in top.rglob("*")
            if path.is_file()
        }


@contextmanager
def mastered(minion: Minion) -> Iterator[Mastered]:
    """Run a master, and a minion that it accepts and that answers it, until both have modules and states."""
    ports = dict(zip(("publish_port", "ret_port"), _ports(2), strict=True))
    more: dict[str, Any] = {"file_roots": {"base": [str(minion.files)]}, "worker_threads": 1}
    # It would not see a new file for twenty seconds.
    more["fileserver_list_cache_time"] = 0
    minion.configure("asking", "master", **ports, root_dir=str(minion.directory / "master"))
    # On a busy machine a minion that works takes long to say that it does; then `salt` would give it up.
    more["gather_job_timeout"] = 120
    minion.configure("master", "master", **ports, **more, interface="127.0.0.1", auto_accept=True)
    reached = {"publish_port": ports["publish_port"], "master_port": ports["ret_port"]}
    # The minion would wait for ten seconds before it asks again whether it is accepted.
    minion.configure("mastered", **reached, master="127.0.0.1", acceptance_wait_time=1)
    made = Mastered(minion)
    with ExitStack() as stack:
        for program, where in (("salt-master", "master"), ("salt-minion", "mastered")):
            command = [_program(program), "-c", str(minion.directory / where), "-l", "warning"]
            daemon = Daemon(command, minion.directory / f"{program}.log", minion.environment)
            stack.callback(daemon.stop)
        key = minion.directory / "master/etc/salt/pki/master/minions/minion-1"
        daemon.wait_until(key.exists)
        # One that says nothing is named too, but not as `true`.
        daemon.wait_until(lambda: '"minion-1": true' in minion.run("salt", *_PING).stdout)
        made.call("saltutil.sync_all")
        yield made


WAITING = ("-c", "master", "-t", "240")
"""How long `salt` waits for an answer, and 120 s for a sign of life; `Minion.run` waits longer for `salt`."""
_PING = ("-c", "asking", "-t", "5", "--out", "json", "--static", "minion-1", "test.ping")


def _ports(count: int) -> list[int]:
    """Return ports that nobody has."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _program(name: str) -> str:
    return str(Path(needs("salt")).with_name(name))


def by_identifier(told: Any) -> Mapping[str, Any]:
    """Return what each state said, by its identifier."""
    # A list of texts says that the states cannot be rendered.
    assert isinstance(told, dict), told
    assert all("__id__" in each for each in told.values()), told
    return {each["__id__"]: each for each in told.values()}
