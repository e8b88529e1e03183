"""A directory that stands for a host, driven by a given `install`; read without product code."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig.host import Result

PRODUCT = "lan-chat"
STATE = f"var/lib/waybill/{PRODUCT}"
Files = dict[str, tuple[object, ...]]


@dataclass(frozen=True)
class HostDir:
    """A host below a directory, and the executable that is run on it.

    Attributes:
        root: The directory.
        install: The executable.
    """

    root: Path
    install: Path

    def run(self, *words: str | Path, under: Sequence[str] = ()) -> Result:
        """Run `install` on the host, below another program such as strace where one is given."""
        command = [*under, str(self.install), *map(str, words), "--root", str(self.root)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=300
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def check(self, *words: str | Path, exit_code: int = 0) -> str:
        """Run `install`, which must end with this exit code; return what it printed."""
        rc, out, err = self.run(*words)
        assert rc == exit_code, f"install {' '.join(map(str, words))}: exit {rc}\n{out}{err}"
        return out

    def document(self, *words: str | Path) -> Any:
        """Run `install … --json` and return its document."""
        return json.loads(self.check(*words, "--json"))

    def status(self) -> Any:
        """Return what `status --json` says about the product."""
        (found,) = self.document("status")["products"]
        return found

    def copy(self, root: Path, install: Path) -> HostDir:
        """Copy the host, to be driven by this executable from there on."""
        shutil.copytree(self.root, root, symlinks=True)
        return HostDir(root, install)

    @property
    def state(self) -> Any:
        """The content of state.json; None where there is none."""
        path = self.root / STATE / "state.json"
        return json.loads(path.read_bytes().rstrip(b"\0 \n")) if path.exists() else None

    @property
    def version(self) -> str:
        """The installed release by state.json; empty for none."""
        state = self.state or {"current": "", "releases": []}
        return next((each["version"] for each in state["releases"] if each["name"] == state["current"]), "")

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of the audit log."""
        lines = (self.root / "var/lib/waybill/audit.jsonl").read_bytes().splitlines()
        return [json.loads(line) for line in lines]

    def journals(self) -> list[list[dict[str, Any]]]:
        """Return the records of each journal, from the oldest to the newest, without what differs by time.

        The labels are words for people and are left out too.
        """
        found = []
        for path in sorted((self.root / STATE / "txn").glob("*.*")):
            lines = path.read_bytes().replace(str(self.root).encode(), b"ROOT").rstrip(b"\0").splitlines()
            found.append([without_times(json.loads(line[65:])) for line in lines])
        return found

    def outside(self) -> Files:
        """Return everything but Waybill's own directory: kind, mode, and content or target, by path."""
        return {path: fact for path, fact in _files(self.root).items() if path.partition("/")[0] != "var"}

    def inside(self) -> Files:
        """Return Waybill's own files, each log and lock only by its name: they hold times."""
        found: Files = {}
        for path, fact in _files(self.root / "var/lib/waybill").items():
            # Since the baseline: what every user may read, and which values a release was rendered with.
            if path.endswith(("/public.json", "/values.json")):
                continue
            if path == "audit.head":
                found[path] = fact[:1]
                continue
            named = path.startswith(("audit", "trusted-time", "evidence.d/", f"{PRODUCT}/txn/"))
            named |= path.rpartition("/")[2] in ("state.json", "history.jsonl", "lock")
            found[path] = fact[:2] if named else fact
        return found

    def leftovers(self) -> list[str]:
        """Return what an ended transaction must not leave behind."""
        base = self.root / STATE
        left = [path for path in (base / "txn").glob("*") if path.suffix != ".done"]
        left += [*(base / "staging").glob("*"), *self.root.rglob("*.waybill-*")]
        return sorted(str(path.relative_to(self.root)) for path in left)


_TIMES = {"at", "boot", "prev", "installed", "sha256", "record_sha256", "label", "said", "why"}
_ADDED = {"saw", "below", "marked"}
"""What operations on files carry since the baseline: what the plan saw, and a mark of the first change."""
_RENAMED = {"switch the link": "current", "switch-the-link": "current"}
"""The batch of the link `current`: its name in the baseline, as text and in paths, and its name now."""
_RANDOM = re.compile(r"-[0-9a-f]{16}\Z")
"""The end of the names of backups since the baseline."""


def without_times(value: Any) -> Any:
    """Return JSON without the members that differ from run to run or are words for people."""
    if isinstance(value, dict):
        found = {key: without_times(each) for key, each in value.items() if key not in _TIMES | _ADDED}
        if isinstance(found.get("files"), dict):
            del found["files"]  # of steps, since the baseline: the digests of what they run
        if isinstance(found.get("health"), dict) and "passed" in found["health"]:
            del found["health"]  # of commits, since the baseline: which health checks passed
        for key in ("tag", "directory", "batch"):
            if key in found:
                found[key] = _RANDOM.sub("", str(found[key]))
                for before, now in _RENAMED.items():
                    found[key] = found[key].replace(before, now)
        if "incomplete" in found:
            found["incomplete"] = bool(found["incomplete"])
        if "irreversible" in found:
            # The script is what later releases look for; the rest is a sentence.
            found["irreversible"] = [text.partition(" ")[0] for text in found["irreversible"]]
        return found
    return [without_times(each) for each in value] if isinstance(value, list) else value


def _files(root: Path) -> Files:
    found: Files = {}
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            content: object = ""
            if stat.S_ISLNK(mode):
                content = os.readlink(path)
            elif stat.S_ISREG(mode):
                content = path.read_bytes()
            found[str(path.relative_to(root))] = (stat.S_IFMT(mode), stat.S_IMODE(mode), content)
    return found
