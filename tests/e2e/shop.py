"""A product of containers: a real server on a base that a second image shares, with a compose file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.rig import images
from tests.rig.engine import Engine
from tests.rig.products import put

NAMES = ("shop/base:1", "shop/web:{version}", "shop/worker:{version}")

BUNDLE = """\
schema: waybill/v1
product: shop
platforms: [linux/amd64]
images:
{images}
docs: {{changelog: CHANGELOG.md, upgrade: docs/UPGRADE.md}}
{more}
"""
COMPOSE = """\
name: shop
services:
  web:
    image: shop/web:{version}
    pull_policy: never
    ports: ["127.0.0.1:8222:8222"]
    restart: unless-stopped
    stop_grace_period: 1s
  worker:
    image: shop/worker:{version}
    pull_policy: never
    network_mode: none
    restart: unless-stopped
    stop_grace_period: 1s
    depends_on: {{web: {{condition: service_healthy}}}}
"""
DEPLOY = """\
deploy:
  - {method: compose, file: deploy/compose.yaml}
health:
  - {http: "http://127.0.0.1:8222/healthz", within: 10s, stable: 1s}
  - {container: shop-worker-1, within: 10s}
"""


def build(engine: Engine, version: str, *, broken: bool = False) -> dict[str, str]:
    """Builds the images of a version on an engine; gives their ids by name. A broken one serves nothing."""
    images.build(engine, "shop/base:1", images.busybox())
    nats = images.nats()
    files = {name: path for name, path in nats.files.items() if name == "/nats-server"}
    cmd = (*nats.cmd, "--name", f"shop-{version}") if not broken else ("/bin/busybox", "sleep", "1000000")
    web = replace(nats, files=files, base="shop/base:1", cmd=cmd, labels={"version": version})
    worker = images.Recipe({"/worker": version.encode()}, base="shop/base:1", cmd=images.busybox().cmd)
    return {
        f"shop/web:{version}": images.build(engine, f"shop/web:{version}", web),
        f"shop/worker:{version}": images.build(engine, f"shop/worker:{version}", worker),
    }


def lay_out(directory: Path, version: str, sources: Sequence[str], *, compose: bool = False) -> Path:
    """Writes a product's directory whose images come from some sources, as bundle.yaml has them."""
    listed = "\n".join(f"  - {source}" for source in sources)
    put(directory, "bundle.yaml", BUNDLE.format(images=listed, more=DEPLOY if compose else ""))
    put(directory, "CHANGELOG.md", f"# Changelog\n\n## {version}\n\n- Better.\n")
    put(directory, "docs/UPGRADE.md", "Nothing to do.\n")
    if compose:
        put(directory, "deploy/compose.yaml", COMPOSE.format(version=version))
    return directory
