"""VERB setup: copy the executable from the media to the host, and link it on the PATH.

coreutils has an `install`, too, so this one is linked as `waybill-install`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from installer import __version__
from installer.core.digest import file_digest
from installer.core.errors import HostNotReadyError, MediaError, UsageError, WaybillError, os_errors_as
from installer.core.limits import CHUNK
from installer.core.remedies import remedy
from installer.core.trust.root import ENVIRONMENT
from installer.host.atomic_file import remove_partial, rename_into_place, replace_file, temporary_path
from installer.host.directories import make_directory
from installer.host.layout import CONFIG
from installer.host.system import System
from installer.shared.frozen import executable
from installer.shared.secrecy.known import Secrets
from installer.shared.standalone.one_file import is_same_program
from installer.state.host_identity import ENVIRONMENT_FILE, environment

PLACE = "/opt/waybill/bin/install"
NAME = "/usr/local/bin/waybill-install"
UNITS = "/etc/systemd/system"
UNIT = "waybill-recover.service"
UNIT_TEXT = f"""\
# Created by `install setup --recover-at-boot`. To turn it off: systemctl disable {UNIT}
[Unit]
Description=Recover an interrupted Waybill transaction
ConditionPathExistsGlob=/var/lib/waybill/*/txn/*.log
RequiresMountsFor=/var/lib/waybill {PLACE}
After=local-fs.target dbus.service containerd.service docker.service podman.socket

[Service]
Type=oneshot
# Another install may run, or somebody may only hold its lock: if that does not end, this unit fails.
ExecStart={PLACE} recover --wait 600

[Install]
WantedBy=multi-user.target
"""


_RELOAD = 60.0
"""Seconds that systemd may take to reload its units."""

_START = 120.0
"""Seconds that the copy may take to say its version; it may have to unpack itself."""


@dataclass(frozen=True, slots=True)
class SetUp:
    """What setup has done.

    Attributes:
        path: The executable.
        link: Its name on the PATH.
        sha256: Of what was copied.
        environment: The environment that was asked for; empty for none.
        unit: The unit that recovers at boot; empty where it was not asked for.
    """

    path: str
    link: str
    sha256: str
    environment: str = ""
    unit: str = ""

    def text(self) -> str:
        """Return it for people."""
        lines = [f"{self.path} is this executable, sha256 {self.sha256}", f"{self.link} links to it"]
        lines += [f"{ENVIRONMENT_FILE} is set to {self.environment}"] if self.environment else []
        lines += [f"{self.unit} recovers interrupted transactions at boot"] if self.unit else []
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        found = {name: value or None for name, value in asdict(self).items()}
        return {"changed": True, **found}


@os_errors_as(HostNotReadyError, "cannot write", default="/opt/waybill", hint=remedy)
def setup(system: System, env: str = "", *, recover_at_boot: bool = False) -> SetUp:
    """Copy the running executable to its place; doing it again replaces it.

    Args:
        system: The host.
        env: The environment that the host belongs to from now on; empty: it is left as it is.
        recover_at_boot: Whether systemd runs `install recover` at boot after an interruption.

    Raises:
        UsageError: This is no executable, but a run from source; `env` is no name of an environment.
        RefusedError: The host belongs to another environment.
        HostNotReadyError: A place cannot be written, or the copy does not start there.
        MediaError: The file cannot be read, or its copy is not the executable that runs.
    """
    own = executable()
    if not own or not own.is_file():
        raise UsageError("setup needs the standalone executable", hint="run `./install setup` from the media")
    to_write = _is_new_environment(system, env)
    for path in (PLACE, NAME):
        make_directory(system, path.rsplit("/", 1)[0])
    digest = _copy(system, own)
    # After what can fail for bad media: a host that was not set up belongs to no environment yet.
    if to_write:
        make_directory(system, CONFIG)
        replace_file(system, ENVIRONMENT_FILE, f"{env}\n".encode(), 0o644)
    seen = system.observe(NAME)
    # Never overwrite a program of somebody else that has this name.
    if (seen.kind, seen.target) != ("link", PLACE):
        if seen.kind != "absent":
            raise UsageError(
                "already exists and is not a link to this executable",
                where=NAME,
                hint="move it away, then run setup again",
            )
        system.symlink(PLACE, NAME)
        system.sync_dir(NAME.rsplit("/", 1)[0])
    unit = _write_unit(system) if recover_at_boot else ""
    return SetUp(PLACE, NAME, digest, env, unit)


def _copy(system: System, own: Path) -> str:
    """Put a copy of the executable in its place and return its SHA-256; a failure keeps the old one."""
    new = temporary_path(PLACE)
    remove_partial(system, PLACE)
    system.write_new(new, _pieces(own), 0o755)
    try:
        digest = _checked(system, Path(system.real(new)), own)
    except (OSError, WaybillError):
        with suppress(OSError):
            remove_partial(system, PLACE)
        raise
    rename_into_place(system, PLACE)
    return digest


def _checked(system: System, copy: Path, own: Path) -> str:
    # Read back: the media may give other bytes than at the start, which only checked what it unpacked.
    with copy.open("rb") as file:
        same = is_same_program(file)
    if not same:
        raise MediaError(
            "its copy is not the executable that runs: it was read with errors, or changed meanwhile",
            where=str(own),
            hint="copy the executable to the media again, then run setup again",
        )
    # Where this program was unpacked, whatever else of the environment a child does not get.
    cache = {"WAYBILL_CACHE": str(Path(sys.prefix).parent)}
    ended = system.run([str(copy), "--version"], timeout=_START, env=cache)
    # Neither it nor systemctl is given a secret.
    if not ended.ok or ended.stdout.decode("utf-8", "replace").split() != ["install", __version__]:
        raise HostNotReadyError(
            f"the copy does not start: {ended.reason(Secrets())}",
            where=PLACE,
            hint="check that the file system is not mounted noexec",
        )
    return file_digest(copy)


def _pieces(own: Path) -> Iterator[bytes]:
    hint = "copy the executable to the media again"
    with os_errors_as(MediaError, "cannot be read", own, hint), own.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece


def _write_unit(system: System) -> str:
    path, wants = f"{UNITS}/{UNIT}", f"{UNITS}/multi-user.target.wants"
    make_directory(system, wants)
    replace_file(system, path, UNIT_TEXT.encode(), 0o644)
    if system.observe(f"{wants}/{UNIT}").kind == "absent":
        system.symlink(f"../{UNIT}", f"{wants}/{UNIT}")
        system.sync_dir(wants)
    # Below --root, and in containers without systemd, the unit is found at the next boot.
    if system.live and system.is_dir("/run/systemd/system"):
        ended = system.run(["systemctl", "daemon-reload"], timeout=_RELOAD)
        if not ended.ok:
            raise HostNotReadyError(f"systemd refuses the unit: {ended.reason(Secrets())}", where=path)
    return path


def _is_new_environment(system: System, env: str) -> bool:
    """Tell whether the host gets its environment now; one that is set is never changed by a command."""
    if not env:
        return False
    if not ENVIRONMENT.fullmatch(env):
        raise UsageError(
            "is not the name of an environment", where="--env", hint="use one word, such as production"
        )
    if system.observe(ENVIRONMENT_FILE, digest=False).kind != "absent":
        environment(system, env)  # refuses another one
        return False
    return True
