"""Releases of a product for sites that drive `install` with an engine of their own, and the root of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from bundler.approvals.approval import ApprovalRequest
from bundler.commands.approve import approve_bundle
from bundler.commands.create import plan_bundle, write_bundle
from bundler.config.loader import load
from bundler.trust.root_files import root_bytes
from installer.core.trust.approval_sidecar import sidecar_path
from installer.core.trust.root import Policy
from installer.shared.progress import Progress
from tests.rig.trustworld import TEAM, person, root

MIB = 1024 * 1024
DESCRIPTION = """\
schema: waybill/v1
product: lan-chat
platforms: [linux/amd64]
expires: 36500d
binaries: [{path: chatd, install: /opt/lan-chat/bin/chatd}]
trees: [{path: web, install: /opt/lan-chat/web}]
config: [{template: chatd.conf.j2, install: /etc/lan-chat/chatd.conf}]
values: {defaults: values.yaml, schema: values.schema.json}
docs: {changelog: CHANGELOG.md, upgrade: UPGRADE.md}
health: [{command: [/opt/lan-chat/bin/chatd], within: 1s, stable: 1s}]
"""
SCRIPT = "deploy: [{method: script, apply: apply.sh, undo: undo.sh}]\n"


def write_root(directory: Path, environments: Mapping[str, Policy] = MappingProxyType({})) -> Path:
    """Write the root that trusts the releases."""
    path = directory / "root.json"
    made = root(environments=dict(environments), expires=datetime(2200, 1, 1, tzinfo=UTC))
    path.write_bytes(root_bytes(made))
    return path


def approve(bundle: Path, role: str, environment: str) -> Path:
    """Have a release approved next to it; return the directory of the approvals."""
    request, beside = ApprovalRequest(role, environment), sidecar_path(bundle)
    approve_bundle(bundle, person(TEAM[role]).signer, request, datetime.now(UTC), beside)
    return beside


def chat_release(
    place: Path, directory: Path, version: str, *, health: int = 0, script: str = "", size: int = 3 * MIB
) -> Path:
    """Make a signed release, with bytes that nothing compresses.

    Args:
        place: A new directory for what goes into it.
        directory: The directory of the bundle.
        version: Its version.
        health: The exit code of its program, which is its health check.
        script: The commands of a deployment step; empty for no such step.
        size: How many bytes.
    """
    files = {
        "bundle.yaml": DESCRIPTION + (SCRIPT if script else ""),
        "chatd": f"#!/bin/sh\n# {version}\nexit {health}\n",
        "chatd.conf.j2": f"version {version}\nport {{{{ port }}}}\n",
        "values.yaml": "port: 4222\n",
        "values.schema.json": '{"properties": {"port": {"type": "integer"}}}',
        "CHANGELOG.md": f"# Changelog\n\n## {version}\n\nBetter.\n",
        "UPGRADE.md": "Nothing to do.\n",
    }
    files |= {"apply.sh": f"#!/bin/sh\n{script}\n", "undo.sh": "#!/bin/sh\n"} if script else {}
    (place / "web").mkdir(parents=True)
    for name, text in files.items():
        (place / name).write_text(text)
    (place / "chatd").chmod(0o755)
    (place / "web/data").write_bytes(random.Random(version).randbytes(size))
    target = directory / f"lan-chat-{version}.tar"
    write_bundle(plan_bundle(load(place, version)), target, (person("Rea").signer,), Progress())
    return target
