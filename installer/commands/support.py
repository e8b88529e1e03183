"""VERB support: a support archive, one tar that explains a host elsewhere, without its secrets.

It works on a host on which everything else is broken: in place of a file that cannot be read stands the
reason. Rendered configuration, the values of the site, backups and private keys are never in it; what these
declare as secret is replaced wherever else it occurs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from installer import __version__
from installer.audit import log as audit_log
from installer.commands import audit as audits
from installer.commands import metrics as telling
from installer.commands.common.session import Session, write_output
from installer.commands.history import events
from installer.commands.status import product_status
from installer.core.errors import WaybillError
from installer.core.format import tar_header
from installer.core.format.member_names import path_fault
from installer.core.format.tar_header import Header
from installer.core.limits import MIB
from installer.core.timestamps import format_time
from installer.core.verify import Clock
from installer.host.context import Context
from installer.host.layout import STATE, Layout
from installer.host.system import System
from installer.shared.secrecy.known import Secrets
from installer.state.host_identity import CLUSTER_FILE, ENVIRONMENT_FILE, host_name
from installer.state.known_secrets import known_secrets
from installer.state.trust_store import ROOT_FILE, TIME_FILE

LIMIT = 4 * MIB
"""Most bytes of one file; of a longer one the end is taken."""
ROWS = 5000
"""Most lines of a listing."""
_URL = re.compile(r"(://[^/\s:@\"]*:)[^/\s@\"]+@")
_BRIEF = "contains no rendered configuration, values, backups or private keys; review it before sending it"


@dataclass(frozen=True, slots=True)
class Supported:
    """What was written.

    Attributes:
        path: The file.
        members: Name and size of what is in it.
        unread: Names of those that hold the reason why they could not be read.
        privileged: Whether root wrote it.
    """

    path: str
    members: tuple[tuple[str, int], ...]
    unread: tuple[str, ...] = ()
    privileged: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        members = [{"name": name, "size": size} for name, size in self.members]
        return {"changed": False, "path": self.path, "members": members, "unread": list(self.unread)}

    def text(self) -> str:
        """Return it for people."""
        lines = [f"  {size:>9}  {name}" for name, size in self.members]
        if self.unread:
            how = "the archive says why" if self.privileged else "run as root"
            lines.append(f"{len(self.unread)} of {len(self.members)} parts could not be read: {how}")
        return "\n".join([f"wrote {self.path}, a tar archive:", *lines, _BRIEF])


def support(system: System, path: Path, clock: Clock) -> Supported:
    """Write the support archive.

    Args:
        system: The host.
        path: The file; nothing may be there.
        clock: Tells the time.

    Raises:
        UsageError: Something is there already.
        HostNotReadyError: It cannot be written.
    """
    # Collected first: what is declared as secret in one file may occur in any other.
    secrets = _secrets(system)
    held = [(name, *_held(take)) for name, take in _parts(system, clock)]
    members = [(name, _hidden(data, secrets)) for name, data, _ in held]
    unread = tuple(name for name, _, is_read in held if not is_read)
    pieces: list[bytes] = []
    for name, data in members:
        header = Header(name, 0o600, len(data), max(0, int(clock().timestamp())))
        pieces += [tar_header.encode(header), data, bytes(tar_header.padding(len(data)))]
    write_output(path, [*pieces, tar_header.END])
    return Supported(str(path), tuple((name, len(data)) for name, data in members), unread, system.privileged)


def _held(take: Callable[[], bytes]) -> tuple[bytes, bool]:
    """Return a part, and whether it could be read; else the part is the reason."""
    try:
        return take(), True
    except FileNotFoundError as error:
        # Nothing is wrong: a host without a root or an audit log has no such file.
        return f"cannot read {error.filename}: {error.strerror}\n".encode(), True
    except OSError as error:
        return f"cannot read {error.filename}: {error.strerror}\n".encode(), False
    except WaybillError as error:
        return f"{error}\n".encode(), False
    except Exception as error:  # the worse a host is, the more this is needed
        return f"internal error in install {__version__}: {type(error).__name__}: {error}\n".encode(), False


def _parts(system: System, clock: Clock) -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield "about.json", lambda: _json(_about(system, clock))
    yield "audit-check.txt", lambda: _audited(system)
    yield "audit.jsonl", lambda: _file(system, audit_log.LOG)
    yield "audit.head", lambda: _file(system, audit_log.HEAD)
    yield "metrics.prom", lambda: telling.text(telling.of_host(system))
    yield "root.json", lambda: _file(system, ROOT_FILE)
    yield "listing.txt", lambda: _listing(system, STATE)
    for name in _directories(system):
        yield from _of_product(Session(system).context(name), f"products/{name}")


def _of_product(within: Context, to: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    system, layout = within.system, within.layout
    yield f"{to}/status.json", lambda: _json(product_status(within).as_json())
    yield f"{to}/history.json", lambda: _json([asdict(event) for event in events(within)])
    yield f"{to}/state.json", lambda: _file(system, layout.state_file)
    yield f"{to}/history.jsonl", lambda: _file(system, layout.history)
    names: list[str] = []
    with suppress(OSError):
        names = system.names(layout.transactions)
    for name in names:
        if name.endswith((".log", ".done")) and not path_fault(name):
            path = f"{layout.transactions}/{name}"
            yield f"{to}/txn/{name}", lambda path=path: _file(system, path).rstrip(b"\0")  # type: ignore[misc]


def _directories(system: System) -> list[str]:
    """Return the names of what may be products, including damaged ones."""
    with suppress(OSError):
        names = [name for name in system.names(STATE) if "." not in name and not path_fault(name)]
        return [name for name in names if system.is_dir(Layout(name).base)]
    return []


def _about(system: System, clock: Clock) -> dict[str, Any]:
    machine = os.uname()
    return {
        "program": __version__,
        "time": format_time(clock()),
        "trusted_time": _text(system, TIME_FILE),
        "boot": system.boot_id(),
        "host": host_name(system),
        "platform": system.platform(),
        "kernel": f"{machine.sysname} {machine.release} {machine.version}",
        "environment": _text(system, ENVIRONMENT_FILE),
        "cluster": _text(system, CLUSTER_FILE),
        "below_root": not system.live,
        "space": {place: _space(system, place) for place in (STATE, "/etc", "/opt", "/tmp")},  # noqa: S108
    }


def _text(system: System, path: str) -> str:
    with suppress(OSError):
        return system.read(path, 4096).decode("utf-8", "replace").strip()
    return ""


def _space(system: System, place: str) -> dict[str, Any]:
    found = system.space(place)
    flags = {"readonly": found.readonly, "noexec": found.noexec}
    return {"free_bytes": found.bytes, "free_inodes": found.inodes, **flags}


def _audited(system: System) -> bytes:
    found = audits.audit(system)
    return "".join(f"{line}\n" for line in (found.summary(), *found.problems)).encode()


def _listing(system: System, directory: str) -> bytes:
    lines = []
    for path in system.tree(directory)[:ROWS]:
        seen = system.observe(path, digest=False)
        lead = f" -> {seen.target}" if seen.kind == "link" else ""
        lines.append(f"{seen.kind:<6} {seen.mode:04o} {seen.uid}:{seen.gid} {seen.size:>12} {path}{lead}")
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _file(system: System, path: str) -> bytes:
    # The end of a long file is what tells what happened last.
    kept, size = b"", 0
    for chunk in system.chunks(path):
        kept, size = (kept + chunk)[-LIMIT:], size + len(chunk)
    # Without the line that is cut: half of a secret is not recognised.
    return kept if size <= LIMIT else kept.partition(b"\n")[2]


def _json(value: Any) -> bytes:
    return f"{json.dumps(value, indent=1)}\n".encode()


def _secrets(system: System) -> Secrets:
    """Return what configuration and values of all products name as secret."""
    found = Secrets(frozenset(_directories(system)))
    for name in _directories(system):
        found.add(known_secrets(system, Layout(name)))
    return found


def _hidden(data: bytes, secrets: Secrets) -> bytes:
    """Replace what is secret; unlike configuration, a line of JSON stays valid JSON."""
    text = data.decode("utf-8", "surrogateescape")
    # Somebody may have put a key where no key belongs.
    if "PRIVATE KEY-----" in text:
        text = "\n".join(secrets.hide_all(text.splitlines()))
    return _URL.sub(r"\1***@", secrets.hide(text)).encode("utf-8", "surrogateescape")
