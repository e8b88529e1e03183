"""Releases with steps that change data of their own, and a host for them."""

from __future__ import annotations

from dataclasses import replace

from installer.core.format.manifest import Deployment
from tests.rig.faulty import FaultySystem
from tests.rig.releases import Member, ReleaseSpec

SAVE = b'#!/bin/sh\ncp "$WAYBILL_ROOT/etc/data" "$WAYBILL_SNAPSHOT/data"\n'
MIGRATE = b'#!/bin/sh\necho "$WAYBILL_VERSION" > "$WAYBILL_ROOT/etc/data"\n'
RESTORE = b'#!/bin/sh\ncp "$WAYBILL_SNAPSHOT/data" "$WAYBILL_ROOT/etc/data"\n'
START = b'#!/bin/sh\necho "$WAYBILL_VERSION" > "$WAYBILL_ROOT/etc/runs"\n'
STOP = b'#!/bin/sh\nrm -f "$WAYBILL_ROOT/etc/runs"\n'
STARTED = {"apply": "deploy/start.sh", "undo": "deploy/stop.sh"}
FORWARD = {"apply": "deploy/migrate.sh", "roll_forward_only": "the column users.nick is dropped"}
SAVED = {"apply": "deploy/migrate.sh", "snapshot": "deploy/save.sh", "restore": "deploy/restore.sh"}


def stepped(spec: ReleaseSpec, *steps: dict[str, str]) -> ReleaseSpec:
    """Gives a release with some steps that are scripts."""
    scripts = {"save": SAVE, "migrate": MIGRATE, "restore": RESTORE, "start": START, "stop": STOP}
    members = {f"deploy/{name}.sh": Member(data, mode=0o755, kind="script") for name, data in scripts.items()}
    deploy = tuple(Deployment("script", options) for options in steps)
    return replace(spec, members={**spec.members, **members}, deploy=deploy)


class Fast(FaultySystem):
    """A faulty host that stays in one boot: a kill takes nothing from the cache."""

    def boot_id(self) -> str:
        return "1"
