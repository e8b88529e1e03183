"""`install setup`: the executable gets a place on the host that is not a stick, and a name on the PATH.

coreutils has an `install` too, so ours is linked as `waybill-install`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from installer.core.digest import hash_pieces
from installer.core.errors import HostNotReadyError, UsageError
from installer.core.limits import CHUNK
from installer.core.trust.root import ENVIRONMENT
from installer.host.atomic_file import replace_file
from installer.host.directories import make_directory
from installer.host.layout import CONFIG
from installer.host.system import System
from installer.state.host_identity import ENVIRONMENT_FILE, environment

PLACE = "/opt/waybill/bin/install"
NAME = "/usr/local/bin/waybill-install"
UNITS = "/etc/systemd/system"
UNIT = "waybill-recover.service"
UNIT_TEXT = f"""\
# Laid down by `install setup --recover-at-boot`. To have it no more: systemctl disable {UNIT}
[Unit]
Description=Finish or undo a release that was cut short (Waybill)
ConditionPathExistsGlob=/var/lib/waybill/*/txn/*.log
RequiresMountsFor=/var/lib/waybill {PLACE}
After=local-fs.target dbus.service containerd.service docker.service

[Service]
Type=oneshot
ExecStart={PLACE} recover
# Another install runs: it recovers first.
SuccessExitStatus=16

[Install]
WantedBy=multi-user.target
"""


_RELOAD = 60.0
"""Seconds that systemd may take to read its units."""


@dataclass(frozen=True, slots=True)
class SetUp:
    """Where the executable now is, the SHA-256 of what was copied, and what else was asked for.

    Attributes:
        path: The executable.
        link: Its name on the PATH.
        sha256: Of what was copied.
        environment: What the host's environment is now set to; empty where nobody said.
        unit: The unit that recovers at boot; empty where nobody asked for it.
    """

    path: str
    link: str
    sha256: str
    environment: str = ""
    unit: str = ""

    def text(self) -> str:
        """Gives it for people."""
        lines = [f"{self.path} is this executable, sha256 {self.sha256}", f"{self.link} links to it"]
        lines += [f"{ENVIRONMENT_FILE} says {self.environment}"] if self.environment else []
        lines += [f"{self.unit} finishes or undoes at boot what was cut short"] if self.unit else []
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Gives it as `--json` prints it."""
        return asdict(self)


def setup(system: System, env: str = "", *, recover_at_boot: bool = False) -> SetUp:
    """Copies the running executable; doing it again replaces it.

    Args:
        system: The host.
        env: The environment that the host belongs to from now on; empty: what it says already, if anything.
        recover_at_boot: Whether systemd is to run `install recover` at boot where something was cut short.

    Raises:
        UsageError: This is no executable, but a run from source; `env` is no name of an environment.
        RefusedError: The host belongs to another environment.
        HostNotReadyError: A place cannot be written.
    """
    try:
        return _setup(system, env, recover_at_boot=recover_at_boot)
    except OSError as error:
        raise HostNotReadyError(
            f"cannot write: {error.strerror}", where=error.filename or "/opt/waybill", hint="run as root"
        ) from error


def _setup(system: System, env: str, *, recover_at_boot: bool) -> SetUp:
    own = os.environ.get("WAYBILL_EXE", "")
    if not own or not Path(own).is_file():
        raise UsageError(
            "this is a run from source", hint="run `./install setup` with the standalone executable"
        )
    _set_environment(system, env)
    for path in (PLACE, NAME):
        make_directory(system, path.rsplit("/", 1)[0])
    digest = hashlib.sha256()
    replace_file(system, PLACE, hash_pieces(_chunks(Path(own)), digest), 0o755)
    seen = system.observe(NAME)
    if (seen.kind, seen.target) != ("link", PLACE):
        if seen.kind != "absent":
            raise UsageError(
                "is something else already", where=NAME, hint="move it away, then run setup again"
            )
        system.symlink(PLACE, NAME)
        system.sync_dir(NAME.rsplit("/", 1)[0])
    unit = _lay_unit(system) if recover_at_boot else ""
    return SetUp(PLACE, NAME, digest.hexdigest(), env, unit)


def _lay_unit(system: System) -> str:
    path, wants = f"{UNITS}/{UNIT}", f"{UNITS}/multi-user.target.wants"
    make_directory(system, wants)
    replace_file(system, path, UNIT_TEXT.encode(), 0o644)
    if system.observe(f"{wants}/{UNIT}").kind == "absent":
        system.symlink(f"../{UNIT}", f"{wants}/{UNIT}")
        system.sync_dir(wants)
    if system.live and system.is_dir("/run/systemd/system"):
        ended = system.run(["systemctl", "daemon-reload"], timeout=_RELOAD)
        if not ended.ok:
            raise HostNotReadyError(f"systemd does not take it: {ended.reason()}", where=path)
    return path


def _set_environment(system: System, env: str) -> None:
    """Writes which environment the host belongs to; one that is there is never changed by a command."""
    if not env:
        return
    if not ENVIRONMENT.fullmatch(env):
        raise UsageError("is not a name of an environment", where="--env", hint="one word: production")
    if system.observe(ENVIRONMENT_FILE, digest=False).kind != "absent":
        environment(system, env)  # refuses another one
        return
    make_directory(system, CONFIG)
    replace_file(system, ENVIRONMENT_FILE, f"{env}\n".encode(), 0o644)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
