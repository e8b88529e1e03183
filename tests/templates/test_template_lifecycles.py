"""The product of each template on its real engine: installed, upgraded, broken, rolled back, removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rig.desk import Desk
from tests.rig.engine import Engine
from tests.rig.executables import executables
from tests.rig.host import MEDIA, Host
from tests.rig.needs import needs
from tests.rig.templated import IMAGES, lay_out, product_of

# One host has the products of several templates, one after the other: what one left would disturb the next.
HOSTS = {
    "service": "bookworm-docker",
    "script": "bookworm-docker",
    "compose": "bookworm-docker",
    "quadlet": "trixie-podman",
}
NEEDS = {"bookworm-docker": "host-docker", "trixie-podman": "host-podman"}
READY = {"bookworm-docker": "systemctl start docker", "trixie-podman": "systemctl enable --now podman.socket"}
RUNNING = {
    "service": "systemctl is-active {product}",
    "script": "grep -lF 'bin/{product} run' /proc/$(cat /run/{product}/pid)/cmdline || "
    "tr '\\0' ' ' < /proc/$(cat /run/{product}/pid)/cmdline | grep 'bin/{product} run'",
    "compose": "docker ps --format '{{{{.Image}}}} {{{{.Status}}}}' | grep healthy",
    "quadlet": "podman ps --format '{{{{.Image}}}}' | grep {product}",
}
LEFT = {
    "service": "systemctl list-unit-files | grep {product}",
    "script": "ls -d /run/{product}",
    "compose": "docker ps -aq | grep .",
    "quadlet": "podman ps -aq | grep .",
}


@dataclass
class Story:
    """A host, and the releases of a product that a template created: two good ones and one that is not."""

    template: str
    host: Host
    releases: dict[str, Path]

    @property
    def product(self) -> str:
        return product_of(self.template)

    def install(self, words: str, exit_code: int = 0) -> str:
        done = self.host.run(f"cd {MEDIA} && ./install {words}")
        assert done.rc == exit_code, f"{words}: exit {done.rc}\n{done.out}{done.err}"
        return done.out + done.err

    def runs(self, version: str) -> None:
        """Checks that a release runs, with its image or its configuration."""
        running = self.host.check(RUNNING[self.template].format(product=self.product))
        config = self.host.check(f"cat /etc/{self.product}/{self.product}.conf")
        assert version in (running if self.template in IMAGES else config)

    def stands(self, version: str) -> None:
        """Checks that a release is the installed one, runs, and that nothing of it drifted."""
        words = f"cd {MEDIA} && ./install status --product {self.product} --json"
        (found,) = json.loads(self.host.check(words))["products"]
        assert (found["installed"]["version"], found["drift"]) == (version, [])
        self.runs(version)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"), executables()).set_up()


@pytest.fixture(scope="module")
def trusting(desk: Desk, docker_engine: Engine) -> Iterator[Callable[[str], Host]]:
    """Boots a host of each kind once, which trusts the desk."""
    hosts: dict[str, Host] = {}

    def booted(kind: str) -> Host:
        if kind not in hosts:
            needs(NEEDS[kind])
            host = hosts[kind] = Host.launch(docker_engine, kind)
            host.check(READY[kind])
            host.media.chmod(0o755)
            for file in (desk.programs.install, desk.root):
                shutil.copy2(file, host.media)
            host.check(f"cd {MEDIA} && ./install trust init root.json --fingerprint {desk.fingerprint}")
        return hosts[kind]

    yield booted
    for host in hosts.values():
        host.close()


@pytest.fixture(params=HOSTS)
def story(
    request: Any,
    desk: Desk,
    docker_engine: Engine,
    trusting: Callable[[str], Host],
    monkeypatch: pytest.MonkeyPatch,
) -> Story:
    template = request.param
    host = trusting(HOSTS[template])
    monkeypatch.setenv("DOCKER_HOST", docker_engine.host)
    releases = lay_out(desk, docker_engine, template)
    for file in releases.values():
        shutil.copy2(file, host.media)
    return Story(template, host, releases)


def test_a_product_of_a_template_goes_through_its_whole_life(story: Story) -> None:
    names = {version: path.name for version, path in story.releases.items()}
    story.install(f"{names['0.1.0']} --verify --yes")
    story.runs("0.1.0")
    story.install(f"{names['0.2.0']} --verify --yes")
    story.runs("0.2.0")
    said = story.install(f"{names['0.3.0']} --verify --yes", exit_code=20)
    assert "0.2.0" in said
    # What has drifted after an installation would still have.
    story.stands("0.2.0")
    story.install(f"rollback --product {story.product} --yes")
    story.stands("0.1.0")
    story.install(f"remove {story.product} --yes")
    assert story.host.run(LEFT[story.template].format(product=story.product)).rc != 0
    assert story.host.run(f"ls -d /opt/{story.product} /etc/{story.product}").out == ""
