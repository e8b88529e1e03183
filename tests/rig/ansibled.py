"""Ansible as sites run it: the project of templates/ansible, releases of a product, and what tasks said."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.commands.init import init_project
from installer.core.digest import sha256_hex
from tests.rig.chatreleases import chat_release, write_root
from tests.rig.needs import needs

COLLECTION = "collections/ansible_collections/waybill/release"
# One line for each result of a task, as Ansible has it.
CALLBACK = """\
import json
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_NAME = "told"

    def __init__(self):
        super().__init__()
        self._open = open("told.jsonl", "w")

    def _tell(self, status, result):
        name = result._task.get_name().rpartition(" : ")[2]
        line = {"host": result._host.get_name(), "task": name, "status": status, "result": result._result}
        self._open.write(json.dumps(line) + "\\n")
        self._open.flush()

    def v2_runner_on_ok(self, result):
        self._tell("ok", result)

    def v2_runner_on_skipped(self, result):
        self._tell("skipped", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._tell("failed", result)

    def v2_runner_on_unreachable(self, result):
        self._tell("unreachable", result)
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What a task said of a host: `ok`, `skipped`, `failed` or `unreachable`, and its result."""

    host: str
    task: str
    status: str
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Play:
    """A run of `ansible-playbook`."""

    exit: int
    output: str
    told: tuple[Told, ...]

    def of(self, task: str, host: str = "") -> Told:
        """Return what the one task of that name said, of one host if there are several."""
        (found,) = [each for each in self.told if each.task == task and host in ("", each.host)]
        return found

    def changed(self) -> list[tuple[str, str]]:
        """Return the tasks that changed something, with their hosts."""
        return [(each.host, each.task) for each in self.told if each.result.get("changed")]


@dataclass(frozen=True)
class Controller:
    """The machine that Ansible runs on: the directory of a playbook, and its environment."""

    directory: Path
    environment: Mapping[str, str]

    @classmethod
    def set_up(cls, directory: Path, product: str = "lan-chat") -> Controller:
        """Add the template to a product, with three releases of it and the root that trusts them."""
        programs = Path(needs("ansible")).parent
        (directory / product).mkdir(parents=True)
        init_project(directory / product, "ansible")
        here = directory / product / "ansible"
        (here / "callback_plugins").mkdir()
        (here / "callback_plugins/told.py").write_text(CALLBACK)
        write_root(here)
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(directory),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_HOME": str(directory / "home"),
            "ANSIBLE_CALLBACKS_ENABLED": "told",
            "ANSIBLE_CALLBACK_PLUGINS": "callback_plugins",
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return cls(here, environment)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the root."""
        return sha256_hex((self.directory / "root.json").read_bytes())

    def write(self, name: str, text: str) -> Path:
        """Write a file next to the playbook."""
        path = self.directory / name
        path.write_text(text)
        return path

    def release(self, version: str, health: int = 0) -> Path:
        """Make a signed release, with 3 MiB that nothing compresses, next to the playbook.

        Args:
            version: Its version.
            health: The exit code of its program, which is its health check.
        """
        return chat_release(self.directory.parent / version, self.directory, version, health=health)

    def run(self, *words: str | Path, timeout: int = 300) -> subprocess.CompletedProcess[str]:
        """Run one of Ansible's commands in the directory of the playbook."""
        # Files of its own: who reads from a pipe waits for what a connection left in the background.
        with (
            (self.directory / "output").open("w+") as output,
            (self.directory / "errors").open("w+") as errors,
        ):
            done = subprocess.run(
                [str(word) for word in words], cwd=self.directory, env=self.environment, check=False,
                stdin=subprocess.DEVNULL, stdout=output, stderr=errors, timeout=timeout,
            )  # fmt: skip
            for file in (output, errors):
                file.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read(), errors.read())

    def play(self, playbook: str, *words: str) -> Play:
        """Run a playbook with the fingerprint of the root."""
        told = self.directory / "told.jsonl"
        told.unlink(missing_ok=True)
        done = self.run("ansible-playbook", playbook, "-e", f"waybill_fingerprint={self.fingerprint}", *words)
        lines = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
        return Play(done.returncode, done.stdout + done.stderr, tuple(Told(**line) for line in lines))
