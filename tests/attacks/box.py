"""A stage for attacks: a host below a directory, a stick, and the two commands as a person would type them.

Each command runs in a child with little memory. After a refusal the stage is compared with what it was: the
host, what was carried, and everything around them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import resource
import stat
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bundler.cli.main
import bundler.commands.create
import bundler.config.loader
import installer.cli.app
import installer.commands.common.plan_execution
import installer.shared.rendering.template_sandbox
from installer.core.jsonio import dumps
from installer.core.trust.root import Root
from tests.rig import bundlebuild as build
from tests.rig import independent
from tests.rig.bundlebuild import Part, Plan
from tests.rig.hang import ends
from tests.rig.trustworld import headed, person

FOR_CHILDREN = (
    bundler.config.loader,
    bundler.commands.create,
    installer.commands.common.plan_execution,
    installer.cli.app,
    installer.shared.rendering.template_sandbox,
)
"""Imported once, for all children."""
MEMORY = 768 * 1024 * 1024
"""Bytes of address space beyond those of the tests themselves."""
LARGE = 1 << 30
"""Bytes from which on a file's content is not compared, but its size and time."""
LOCK = "host/etc/waybill/trust/.lock"
DAY = 86400
OWN_RECORDS = ("trusted-time", "audit", "evidence", "metrics", "log", "lock")
"""What a host may write down about a refusal, below `/var`."""
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> dict[str, Any]:
        """The document of a refusal."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def run(program: str, words: Sequence[str], home: Path) -> Said:
    """Runs `bundle` or `install` in a child of this process, bounded in memory, without a terminal."""
    files = [home / name for name in ("out", "err")]
    child = os.fork()
    if child == 0:
        try:
            _become(program, list(words), home, files)
        finally:
            os._exit(99)
    with ends(within=120):
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    out, err = (path.read_bytes().decode("utf-8") for path in files)
    return Said(code, out, err)


def _become(program: str, words: list[str], home: Path, files: list[Path]) -> None:
    from installer.cli.main import main as install

    os.chdir(home)
    os.environ["TMPDIR"] = str(home / "tmp")
    os.environ["SOURCE_DATE_EPOCH"] = "1790000000"
    limit(MEMORY)
    sys.stdin = io.StringIO()
    # The descriptors, too: the commands write to them, whatever `sys.stdout` is.
    for number, path in enumerate(files, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    sys.stdout, sys.stderr = (open(fd, "w", encoding="utf-8", closefd=False) for fd in (1, 2))  # noqa: SIM115
    sys.argv = [program, *words]
    code: object = 0
    try:
        {"bundle": bundler.cli.main.main, "install": install}[program]()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 98
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 97)


def bounded(act: Callable[[], object], memory: int = 256 * 1024 * 1024) -> str:
    """Runs a function in a child with little memory; gives what it gave, or the error, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            limit(memory)
            said = str(act())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with ends(within=300), os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return said


def limit(memory: int) -> None:
    """Takes away all memory beyond what this process has and some."""
    (pages, *_) = Path("/proc/self/statm").read_text().split()
    most = int(pages) * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def now() -> int:
    """Gives the time of this machine in whole seconds."""
    return int(time.time())


def plan(files: dict[str, bytes] | None = None, **fields: Any) -> Plan:
    """Gives a good bundle of today."""
    entries = fields.pop("entries", {}) | {
        "bin/linux-amd64/chatd": {"install": "/opt/lan-chat/chatd", "platform": "linux/amd64"}
    }
    chosen = build.FILES if files is None else files
    dates = {"created": now() - DAY, "expires": now() + 90 * DAY}
    kept = {path: entries[path] for path in chosen if path in entries}
    return build.plan(chosen, entries=kept, room=512, **{**dates, **fields})


def member(name: str, data: bytes = b"evil\n", mode: int = 0o644, **header: bytes) -> Part:
    """Gives a member of a tar as an attacker writes it: any name, any field of the header."""
    plain = Part("x", data, mode).tar()[:512]
    block = build.raw_header(plain, name=name.encode("utf-8", "surrogateescape"), **header)
    return Part(name, data, mode, header=block)


@dataclass
class Box:
    """The stage.

    Attributes:
        home: Everything is below it.
        watched: What a refusal must leave alone, with what it was.
        carried: The bundle on the stick.
    """

    home: Path
    watched: dict[str, str] = field(default_factory=dict)
    carried: bytes = b""

    def __post_init__(self) -> None:
        for name in ("host/etc/waybill/trust", "host/opt", "host/var/lib/waybill", "stick", "tmp", "outside"):
            (self.home / name).mkdir(parents=True)
        (self.home / "outside/precious").write_text("precious")
        self.trust(self.root())

    @property
    def host(self) -> Path:
        """The host's root directory."""
        return self.home / "host"

    @property
    def bundle(self) -> Path:
        """The bundle on the stick."""
        return self.home / "stick/b.tar"

    def root(self, **fields: Any) -> Root:
        """Gives a root in which the key of `bundlebuild` releases, and one person keeps the root."""
        from datetime import UTC, datetime, timedelta

        from installer.core.trust.root import Role
        from installer.core.trust.signatures import TrustedKey

        key = TrustedKey.from_public(build.key()[1], "Rea")
        base = headed(1, "Ann", expires=datetime.now(UTC).replace(microsecond=0) + timedelta(days=300))
        roles = {"release": Role((key.keyid,), 1), "root": base.roles["root"]}
        keys = {key.keyid: key, person("Ann").key.keyid: person("Ann").key}
        return replace(base, **{"keys": keys, "roles": roles, "environments": {}, **fields})

    def trust(self, root: Root) -> None:
        """Makes the host trust a root."""
        (self.host / "etc/waybill/trust/root.json").write_bytes(dumps(root.document()))

    def carry(self, data: Plan | bytes) -> Path:
        """Puts a bundle onto the stick; a plan is signed first, whatever it says."""
        self.carried = data if isinstance(data, bytes) else build.signed(data).tar()
        self.bundle.write_bytes(self.carried)
        return self.bundle

    def install(self, *words: str) -> Said:
        """Runs `install` on the host."""
        return run("install", [*words, "--root", str(self.host)], self.home)

    def apply(self, *words: str) -> Said:
        """Applies the bundle on the stick."""
        return self.install(str(self.bundle), "--verify", "--yes", "--json", *words)

    def watch(self) -> None:
        """Notes how everything is."""
        self.watched = self.seen()

    def seen(self) -> dict[str, str]:
        """Gives each thing as it is, but Waybill's records of refusals and its directories for staging."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            name = path.relative_to(self.home).as_posix()
            own = name.startswith("host/var/") and any(word in name for word in OWN_RECORDS)
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            empty = name.startswith("host/var/lib/waybill/") and kind == stat.S_IFDIR
            if name in ("out", "err", LOCK) or own or empty:
                continue
            what = str(path.readlink()) if kind == stat.S_IFLNK else ""
            if kind == stat.S_IFREG:
                data = path.read_bytes() if status.st_size < LARGE else b""
                what = f"{status.st_size} {hashlib.sha256(data).hexdigest()} {status.st_mtime_ns}"
            found[name] = f"{status.st_mode:o} {status.st_uid} {what}"
        return found

    def agreed(self, code: int) -> None:
        """Demands the same of the verifier of the documents, which knows no host, no policy and no clock."""
        if self.carried:
            found, why = independent.answer(self.carried, build.key()[1], images=True)
            assert found == (code if code in (10, 11, 19) else 0), f"the verifier of the documents: {why}"

    def refused(self, said: Said, code: int, words: str) -> None:
        """Demands a refusal as it has to be: code, place, remedy, nothing unprintable, nothing changed."""
        assert said.code == code, said.out + said.err
        assert "Traceback" not in said.err
        assert not UNSAFE.search(said.err), said.err
        error = said.error
        assert error["exit"] == code
        places = error["problems"]
        told = "\n".join(f"{each['where'] or ''}: {each['what']}" for each in places)
        assert re.search(words, told), told
        assert any(each["where"] for each in places), told
        assert any(each["hint"] for each in places), f"no remedy: {told}"
        changed = {name for name, _ in self.watched.items() ^ self.seen().items()}
        assert changed == set(), sorted(changed)
