"""Releases whose steps are scripts: each writes to a log, and a migration changes data of its own."""

from __future__ import annotations

from dataclasses import replace

from installer.commands.common.plan_execution import TransactionResult
from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from installer.planning.plan import Options, Plan
from tests.rig.releases import Member, ReleaseSpec, install, plan_for, root

SCRIPT = b"""#!/bin/sh
echo "$(basename "$0" .sh) $WAYBILL_VERSION" >> "$WAYBILL_ROOT/log"
"""
SAVE = SCRIPT + b'cp "$WAYBILL_ROOT/data" "$WAYBILL_SNAPSHOT/data"\n'
MIGRATE = SCRIPT + b'echo "$WAYBILL_VERSION" > "$WAYBILL_ROOT/data"\n'
RESTORE = SCRIPT + b'cp "$WAYBILL_SNAPSHOT/data" "$WAYBILL_ROOT/data"\n'
WHY = "the column users.nick is dropped"
UNDO = {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}
FORWARD = {"apply": "deploy/migrate.sh", "roll_forward_only": WHY}
SAVED = {"apply": "deploy/migrate.sh", "snapshot": "deploy/save.sh", "restore": "deploy/restore.sh"}
LATER = {"apply": "deploy/later.sh", "undo": "deploy/undo.sh"}


def stepped(version: str, sequence: int, *steps: dict[str, str], **scripts: bytes) -> ReleaseSpec:
    """Return a release with some steps; `migrate=b"…"` and so on replaces a script."""
    made = {"migrate": MIGRATE, "save": SAVE, "restore": RESTORE} | scripts
    members = {"config/f": Member(version.encode(), "/etc/f")}
    for options in steps:
        for word in ("apply", "undo", "snapshot", "restore"):
            if path := options.get(word):
                name = path.removeprefix("deploy/").removesuffix(".sh")
                members[path] = Member(made.get(name, SCRIPT), mode=0o755, kind="script")
    return ReleaseSpec(version, sequence, members, deploy=tuple(Deployment("script", s) for s in steps))


ONE = stepped("1.0.0", 1, UNDO)
ONLY = Options(only=frozenset({"script"}))
"""Runs the scripts, which need no live host."""
DATA = {"data": "1.0.0\n"}
"""The data of a host before a migration."""


def install_steps(within: Context, release: ReleaseSpec) -> TransactionResult:
    """Install a release, with its scripts and without what needs a live host."""
    return install(within, release, ONLY)


def plan_steps(within: Context, release: ReleaseSpec) -> Plan:
    """Stage a release and return the plan of its scripts."""
    return plan_for(within, release, ONLY)


def unhealthy(release: ReleaseSpec) -> ReleaseSpec:
    """Return the release with a health check that fails."""
    return replace(release, health=(HealthCheck("command", "", ("/bin/false",), within=0, when="script"),))


def lines(within: Context, name: str = "log") -> list[str]:
    """Return the lines of a file of the host: of the log, or of the data."""
    return (root(within) / name).read_text().splitlines()
