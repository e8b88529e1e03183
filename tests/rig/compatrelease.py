"""Two releases of a small product that between them change everything a host below a directory can hold.

Laid out as files only, so that any `bundle` executable can make bundles of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.rig import imagebuild
from tests.rig.desk import Desk
from tests.rig.imagebuild import Built, layer

FIRST, SECOND = "1.0.0", "1.1.0"
DESCRIPTION = """\
schema: waybill/v1
product: lan-chat
platforms: [linux/amd64]
expires: 36500d
binaries:
  - {path: build/chatd, install: /opt/lan-chat/bin/chatd}
trees:
  - {path: web, install: /opt/lan-chat/web}
config:
  - {template: config/chatd.conf.j2, install: /etc/lan-chat/chatd.conf, mode: "0640"}
values: {defaults: config/values.yaml, schema: config/values.schema.json}
docs: {changelog: CHANGELOG.md, upgrade: docs/UPGRADE.md}
rollback: {plan: docs/ROLLBACK.md}
"""
STEPS = {
    "": "",
    "undo": "apply: deploy/apply.sh, undo: deploy/undo.sh",
    "restore": "apply: deploy/migrate.sh, snapshot: deploy/save.sh, restore: deploy/restore.sh",
    "forward": "apply: deploy/migrate.sh, roll_forward_only: a column is dropped",
}
"""What a release does besides placing files, by the way in which that is undone."""
SCRIPTS = {
    "apply": 'echo "$WAYBILL_VERSION" > etc/ran',
    "undo": "rm -f etc/ran",
    "save": 'cp etc/data "$WAYBILL_SNAPSHOT/data"',
    "restore": 'cp "$WAYBILL_SNAPSHOT/data" etc/data',
    "migrate": 'echo "data of $WAYBILL_VERSION" > etc/data',
}
SCRIPT = """\
#!/bin/sh
set -e
cd "$WAYBILL_ROOT"
{body}
! [ -e srv/fail-{name} ] || exit 1
! [ -e srv/kill-in-{name} ] || {{ rm srv/kill-in-{name}; kill -9 $PPID; }}
while [ -e srv/wait-in-{name} ]; do : > srv/waiting; sleep 0.05; done
"""
"""What a test lays into `srv` makes a script fail, kill the installer, or wait."""
FILES = {
    "CHANGELOG.md": "# Changelog\n\n## 1.1.0\n\nFaster.\n\n## 1.0.0\n\nFirst.\n",
    "docs/UPGRADE.md": "# Upgrade\n\nNothing to do.\n",
    "docs/ROLLBACK.md": "# Rollback\n\n`install rollback`\n",
    "config/values.yaml": "port: 8080\n",
    "config/values.schema.json": '{"type": "object", "properties": {"port": {"type": "integer"}}}\n',
}
OF_VERSION = {
    FIRST: {
        "build/chatd": "\x7fELF old daemon",
        "config/chatd.conf.j2": "port: {{ port }}\n",
        "web/index.html": "<p>same\n",
        "web/gone/deep.js": "// gone\n",
        "web/lib/a.js": "// a directory becomes a link\n",
    },
    SECOND: {
        "build/chatd": "\x7fELF new daemon" * 60,
        "config/chatd.conf.j2": "port: {{ port + 1 }}\nfast: true\n",
        "web/index.html": "<p>same\n",
        "web/start/a.html": "<p>a link becomes a directory\n",
        "web/new/b.js": "// b\n",
    },
}
LINKS = {FIRST: ("web/start", "index.html"), SECOND: ("web/lib", "new")}


def lay_out(directory: Path, version: str, step: str = "", images: bool = False) -> Path:
    """Lay out one of the two releases.

    Args:
        directory: Where; made.
        version: FIRST or SECOND.
        step: A key of STEPS.
        images: Whether the release carries an image of two layers, one of which both releases share.
    """
    put(directory, {**FILES, **OF_VERSION[version]})
    put(
        directory,
        {f"deploy/{name}.sh": SCRIPT.format(name=name, body=body) for name, body in SCRIPTS.items()},
        0o755,
    )
    (directory / "build/chatd").chmod(0o755)
    name, target = LINKS[version]
    (directory / name).symlink_to(target)
    (directory / "web/empty").mkdir(mode=0o755)
    text = DESCRIPTION
    if images:
        image = Built(f"lan-chat/server:{version}", [layer("base"), layer(version)])
        imagebuild.write(directory / "image", imagebuild.layout([image]))
        text += "images: [{oci: image}]\n"
    if STEPS[step]:
        text += f"deploy: [{{method: script, {STEPS[step]}}}]\n"
    put(directory, {"bundle.yaml": text})
    return directory


def put(directory: Path, files: dict[str, str], mode: int = 0o644) -> None:
    """Write files below a directory."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)


def bundle(
    desk: Desk,
    version: str,
    step: str = "",
    images: bool = False,
    change: Callable[[Path], None] = lambda _directory: None,
    name: str = "",
) -> Path:
    """Make a signed bundle of a release with the desk's executable; made once for each name."""
    name = name or "-".join(filter(None, (version, step, "images" if images else "")))
    if name not in desk.made:
        directory = lay_out(desk.home / name, version, step, images)
        change(directory)
        target = desk.home / f"{name}.tar"
        desk.bundle("create", version, "-C", directory, "-o", target, "--key", desk.key)
        desk.made[name] = target
    return desk.made[name]
