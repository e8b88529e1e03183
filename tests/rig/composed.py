"""Releases of a Compose project with several services, on a directory that is a live host with an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from installer.commands.status import product_status
from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from tests.rig import images
from tests.rig.engine import Engine
from tests.rig.livedir import LiveDir
from tests.rig.needs import needs
from tests.rig.releases import PRODUCT, Member, ReleaseSpec, context

IMAGES = ("rig/box:1", "rig/box:2")
SERVICES = """services:
  db:
    image: rig/box:1
    network_mode: none
    stop_grace_period: 0s
    environment: {{LEVEL: "{level}"}}
    volumes: ["data:/data"]
    {db}
  migrate:
    image: {image}
    network_mode: none
    command: ["/bin/busybox", "sh", "-c", "{job}"]
    volumes: ["data:/data"]
    depends_on: {{db: {{condition: service_started}}}}
    {migrate}
  web:
    image: {image}
    network_mode: none
    stop_grace_period: 0s
    volumes:
      - "${{WAYBILL_ROOT:-}}/etc/web.conf:/web.conf:ro"
      - {{type: bind, source: "${{WAYBILL_ROOT:-}}/opt/web", target: /web, read_only: true}}
    depends_on: {{migrate: {{condition: service_completed_successfully}}}}
    {web}
{more}
volumes: {{data: {{}}{volumes}}}
"""
STOPS = 'healthcheck: {test: ["CMD", "/bin/busybox", "sh", "-c", "echo the page is gone; exit 3"], '
STOPS += "interval: 1s, retries: 1}"
"""Makes a service unhealthy."""


@dataclass(frozen=True)
class Parts:
    """What one release has.

    Attributes:
        image: Of `migrate` and `web`.
        config: The text of a rendered file that `web` mounts.
        page: The text of a file in a tree that `web` mounts.
        level: A variable of `db`.
        job: What `migrate` does.
        keys: More keys of a service, by its name.
        more: More services, and what follows them.
        volumes: More volumes.
        health: Probes.
    """

    image: str = IMAGES[0]
    config: str = "same"
    page: str = "same"
    level: str = "1"
    job: str = "exit 0"
    keys: Mapping[str, str] = field(default_factory=dict)
    more: str = ""
    volumes: str = ""
    health: tuple[HealthCheck, ...] = ()


def project(number: int, parts: Parts = Parts()) -> ReleaseSpec:
    """Give a release."""
    keys = {name: parts.keys.get(name, "") for name in ("db", "migrate", "web")}
    file = SERVICES.format(
        image=parts.image,
        level=parts.level,
        job=parts.job,
        more=parts.more,
        volumes=parts.volumes,
        **keys,
    )
    return ReleaseSpec(
        f"{number}.0.0",
        number,
        {
            "deploy/compose.yaml": Member(file.encode(), kind="compose"),
            "config/web.conf": Member(parts.config.encode(), "/etc/web.conf", kind="template"),
            "trees/web/index.html": Member(parts.page.encode(), "/opt/web/index.html", kind="tree"),
        },
        deploy=(Deployment("compose", {"file": "deploy/compose.yaml"}),),
        health=parts.health,
    )


@contextmanager
def composed(engine: Engine, root: Path) -> Iterator[Context]:
    """Give a live host whose engine has the images; its containers are removed afterwards."""
    for number, tag in enumerate(IMAGES):
        if engine.docker("image", "inspect", tag, check=False).returncode != 0:
            images.build(engine, tag, images.busybox(("/bin/busybox", "sleep", str(1000000 + number))))
    programs = Path(needs("compose")).parent
    path = f"{engine.path}:{programs}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", engine.host)
        patch.setenv("PATH", path)
        try:
            yield context(LiveDir(root))
        finally:
            clear(engine)


def clear(engine: Engine) -> None:
    """Remove what the engine has of the project."""
    label = f"label=com.docker.compose.project={PRODUCT}"
    if ids := engine.text("ps", "-aq", "--filter", label).split():
        engine.docker("rm", "-f", "-v", *ids)
    if names := engine.text("volume", "ls", "-q", "--filter", label).split():
        engine.docker("volume", "rm", *names)


def services(engine: Engine) -> dict[str, str]:
    """Return the id of the container of each service."""
    form = '{{.Label "com.docker.compose.service"}} {{.ID}}'
    label = f"label=com.docker.compose.project={PRODUCT}"
    return dict(
        line.split() for line in engine.text("ps", "-a", "--filter", label, "--format", form).splitlines()
    )


def read(engine: Engine, path: str) -> str:
    """Return what a container of `web` reads in a file."""
    return engine.text("exec", f"{PRODUCT}-web-1", "/bin/busybox", "cat", path)


def same(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    """Return the services whose container is the same one."""
    return {name for name in one if other.get(name) == one[name]}


def drift(within: Context) -> list[str]:
    """Return what `status` says of differences."""
    return [f"{each.where} {each.what}" for each in product_status(within).drift]
