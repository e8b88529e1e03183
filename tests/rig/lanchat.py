"""lan-chat, the example that is built from source: its tree, its Makefile, its releases, a host with it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rig.desk import Desk
from tests.rig.engine import wait_for
from tests.rig.executables import TOP
from tests.rig.host import Host, Result
from tests.rig.needs import needs

EXAMPLE = TOP / "examples" / "lan-chat"
FIRST, SECOND, BAD = "1.0.0", "1.1.0", "1.2.0"
TOKEN = "the-token-of-a-test"
REPLICAS = (1, 2)


@dataclass(frozen=True)
class Tree:
    """A copy of the product's tree."""

    directory: Path

    @classmethod
    def lay_out(cls, directory: Path, source: Path = EXAMPLE) -> Tree:
        """Copy it without what is built."""
        shutil.copytree(source, directory, ignore=shutil.ignore_patterns("build", "artifacts", "releases"))
        return cls(directory)

    def run(self, *targets: str, **variables: str) -> Result:
        """Run `make` with variables."""
        given = {"ETCD": needs("etcd"), **variables}
        done = subprocess.run(
            ["make", *targets, *(f"{key}={value}" for key, value in given.items())],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def make(self, *targets: str, **variables: str) -> str:
        """Run `make`, which has to succeed; return what it printed."""
        code, out, err = self.run(*targets, **variables)
        assert code == 0, f"make {' '.join(targets)}: exit {code}\n{out}{err}"
        return out

    def rewrite(self, name: str, pattern: str, by: str) -> None:
        """Replace every match in a file; there has to be one."""
        path = self.directory / name
        text, count = re.subn(pattern, by, path.read_text())
        assert count, f"{name} has no {pattern}"
        path.write_text(text)


@dataclass
class Releases:
    """The connected side: builds releases, signs and approves them; each is made once.

    Attributes:
        desk: Its keys and its root, whose environment `plant` wants an approval of `security`.
        tree: What they are built from.
    """

    desk: Desk
    tree: Tree
    made: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def set_up(cls, desk: Desk) -> Releases:
        """Make keys and root in the directory of the desk."""
        needs("go")
        desk.set_up()
        desk.bundle("keygen", "security")
        desk.bundle("trust", "add-key", "root.json", "security.pub", "--role", "security")
        wanted = ("--require", "release", "--require", "security")
        desk.bundle("trust", "set-policy", "root.json", "plant", *wanted)
        tree = Tree.lay_out(desk.home / "lan-chat")
        # What is known to fail has to fail soon.
        tree.rewrite("bundle.yaml", "within: 120s, stable: 5s", "within: 15s, stable: 1s")
        tree.rewrite("CHANGELOG.md", "# Changelog\n", f"# Changelog\n\n## {BAD}\n\n- Broken.\n")
        return cls(desk, tree)

    def release(self, version: str, change: Callable[[Tree], None] = lambda _tree: None) -> Path:
        """Build, bundle, sign and approve a version, from a copy of the tree that may be changed."""
        if version not in self.made:
            tree = Tree.lay_out(self.desk.home / f"lan-chat-{version}", self.tree.directory)
            change(tree)
            tree.make("image", VERSION=version)
            bundle = self.desk.home / f"lan-chat-{version}.tar"
            self.desk.bundle("create", version, "-C", tree.directory, "-o", bundle)
            self.desk.bundle("sign", bundle, "--key", self.desk.key)
            where = ("--env", "plant", "--root", self.desk.root)
            self.desk.bundle(
                "approve", bundle, "--role", "security", *where, "--key", "security.key", "--yes"
            )
            self.made[version] = bundle
        return self.made[version]

    def broken(self) -> Path:
        """A release that is signed, approved and starts; its store answers at another port."""

        def break_it(tree: Tree) -> None:
            tree.rewrite("config/store.env.j2", "ports.store_admin", "ports.store_admin + 90")

        return self.release(BAD, break_it)


@dataclass(frozen=True)
class Chat:
    """lan-chat as it runs on a host, asked over HTTP from there."""

    host: Host
    store: str = "http://127.0.0.1:707{replica}"
    admin: str = "http://127.0.0.1:717{replica}"
    gateway: str = "http://127.0.0.1:8080"

    def curl(self, *words: str) -> str:
        """Ask; empty where nobody answers."""
        return self.host.run(["curl", "-sf", "--max-time", "10", *words]).out

    def health(self, replica: int) -> dict[str, Any]:
        """What a replica of the store says of itself; empty where it is not healthy."""
        return dict(json.loads(self.curl(f"{self.admin.format(replica=replica)}/healthz") or "{}"))

    def leader(self) -> str:
        """The name of the leader, once both replicas agree on one."""
        found: list[str] = []

        def agree() -> bool:
            found[:] = {str(self.health(each).get("leader", "")) for each in REPLICAS}
            return len(found) == 1 and found[0] != ""

        wait_for("one leader", agree, 60)
        return found[0]

    def metric(self, replica: int, name: str) -> float:
        """A metric of a replica of the store."""
        text = self.curl(f"{self.admin.format(replica=replica)}/metrics")
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found, f"no {name} in {text}"
        return float(found[1])

    def post(self, text: str, url: str = "") -> dict[str, Any]:
        """Send a message to the gateway, or to a replica of the store, until somebody takes it."""
        words = ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {TOKEN}"]
        words += ["-d", json.dumps({"author": "ann", "text": text})]
        target = f"{url}/v1" if url else f"{self.gateway}/api"
        answers: list[str] = []

        def taken() -> bool:
            answers.append(self.curl(*words, f"{target}/channels/lobby/messages"))
            return answers[-1] != ""

        wait_for(f"a taker of {text!r}", taken, 60)
        return dict(json.loads(answers[-1]))

    def texts(self, replica: int) -> list[str]:
        """The messages that a replica of the store has."""
        url = f"{self.store.format(replica=replica)}/v1/channels/lobby/messages"
        return [each["text"] for each in json.loads(self.curl("-H", f"Authorization: Bearer {TOKEN}", url))]

    def events(self, until: str) -> str:
        """What a browser gets from the gateway, up to a text."""
        answers: list[str] = []

        def came() -> bool:
            # A stream has no end: what has come within two seconds is looked at.
            url = f"{self.gateway}/api/channels/lobby/events"
            answers.append(self.host.run(["curl", "-sN", "--max-time", "2", url]).out)
            return until in answers[-1]

        wait_for(f"an event with {until!r}", came, 60)
        return answers[-1]


def lay_token(host: Host) -> None:
    """Put the one secret of the site where `secret://file/token` says."""
    place = "/etc/waybill/lan-chat/secrets"
    host.check(f"install -d -m 0700 {place} && umask 077 && echo '{TOKEN}' > {place}/token")
