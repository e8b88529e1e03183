"""Releases with one script, which writes down what it was asked to do and which files it saw."""

from __future__ import annotations

from installer.core.format.manifest import Deployment
from installer.host.context import Context
from tests.rig.releases import Member, ReleaseSpec, root

SCRIPT = b"""#!/bin/sh
# the file of the release that belongs to this step has to be in place
step=$(basename "$0" .sh)
echo "$step $WAYBILL_VERSION with $(cat "$WAYBILL_ROOT/etc/f") after ${WAYBILL_OLD_RELEASE##*/}" \
    >> "$WAYBILL_ROOT/log"
"""


def scripted(version: str, sequence: int, apply: bytes = SCRIPT, undo: bytes = SCRIPT) -> ReleaseSpec:
    """Return a release with a file and a script that is run with it."""
    return ReleaseSpec(
        version,
        sequence,
        {
            "config/f": Member(version.encode(), "/etc/f"),
            "deploy/apply.sh": Member(apply, mode=0o755, kind="script"),
            "deploy/undo.sh": Member(undo, mode=0o755, kind="script"),
        },
        deploy=(Deployment("script", {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}),),
    )


def log(within: Context) -> list[str]:
    """Return what the scripts wrote down, without the release that was there before."""
    return [line.split(" after ")[0] for line in (root(within) / "log").read_text().splitlines()]
