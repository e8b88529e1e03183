"""The comparison of two releases in tests of it: what they have and want, planned and carried out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from installer.core.digest import sha256_hex
from installer.deploy.file_operations import ChangeFiles
from installer.host.context import Context
from installer.planning.changes import Changes
from installer.planning.destinations import Admission
from installer.planning.drift import NOTHING_SAID, Policy
from installer.planning.file_changes import compare
from installer.state.release import Installed
from tests.rig.fileentries import NEW, OLD, on, there

CONF, DATA = "/etc/x", "/srv/a/x"
KEPT = "/var/lib/waybill/lan-chat/kept/000009"
POLICIES = {"nothing": NOTHING_SAID, **{word: Policy(word) for word in ("refuse", "keep", "replace")}}  # type: ignore[arg-type]
OWNER = {"uid": 0, "gid": 0} if os.geteuid() == 0 else {"uid": -1, "gid": -1}


def item(kind: str, path: str, data: bytes = NEW, **fields: Any) -> Installed:
    made = {
        "file": {
            "sha256": sha256_hex(data),
            "size": len(data),
            "mode": 0o640,
            **OWNER,
            "source": "/stage/new",
        },
        "link": {"target": "target"},
        "dir": {"mode": 0o755, **OWNER},
    }[kind]
    return Installed(path, kind, **{"origin": "docs/x", **made, **fields})  # type: ignore[arg-type]


def old_file(path: str, **fields: Any) -> Installed:
    return item("file", path, OLD, mode=0o600, **fields)


def planned(
    root: Path,
    old: Sequence[Installed],
    wanted: Sequence[Installed],
    policy: Policy = NOTHING_SAID,
    **more: Any,
) -> Changes:
    host = on(root)
    admission = more.pop("admission", None) or Admission(host)
    return compare(host.system, host.layout, "000009", old, wanted, admission, policy=policy, **more)


def carry_out(root: Path, changes: Changes) -> None:
    """Does it, undoes it, does it again, and finishes it."""
    operations, files, before = changes.operations(), ChangeFiles(), there(root)
    host: Context = on(root)
    for last in (False, True):
        done = []
        for op in operations:
            files.require_unchanged(host, op.args) if not done else None
            done.append((op.args, files.observe(host, op.args)))
            files.do(host, *done[-1])
        for args, preimage in done if last else reversed(done):
            (files.finish if last else files.undo)(host, args, preimage)
        assert last or there(root) == before


def content(root: Path, path: str) -> bytes | None:
    place = root / path[1:]
    return place.read_bytes() if place.is_file() and not place.is_symlink() else None


def paths(changes: Changes) -> list[tuple[str, str]]:
    return [(change.verb, change.path) for change in changes.changes]
