"""Images pinned by digest, from a registry into containers, next to other kinds of steps: a real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundler.commands.create import plan_bundle, write_bundle
from bundler.config.loader import load
from bundler.trust.root_files import root_bytes
from installer.commands.apply import apply
from installer.commands.common.bundle_verifier import BundleInput
from installer.commands.common.session import Session
from installer.commands.remove import remove
from installer.commands.rollback import rollback
from installer.commands.status import status
from installer.planning.plan import Options
from installer.shared.progress import Progress
from installer.state.trust_store import ROOT_FILE
from tests.rig import images
from tests.rig.composed import clear
from tests.rig.engine import Engine
from tests.rig.livedir import LiveDir
from tests.rig.needs import needs
from tests.rig.registry import Registry
from tests.rig.trustworld import person, root

pytestmark = pytest.mark.needs("docker", "compose", "busybox", "registry")
PRODUCT = "lan-chat"
YAML = """\
schema: waybill/v1
product: lan-chat
platforms: [linux/amd64]
expires: 36500d
images:
  - registry: {image}
config:
  - {{template: config/chat.conf, install: /etc/chat.conf}}
trees:
  - {{path: web, install: /opt/chat/web}}
deploy:
  - {{method: script, apply: deploy/apply.sh, undo: deploy/undo.sh}}
  - {{method: compose, file: deploy/compose.yaml}}
health:
  - {{container: lan-chat-app-1, within: 30s}}
"""
COMPOSE = """\
services:
  app:
    image: {image}@{digest}
    network_mode: none
    stop_grace_period: 0s
    volumes: ["${{WAYBILL_ROOT:-}}/etc/chat.conf:/chat.conf:ro"]
"""


@dataclass
class Site:
    """A registry, where releases are made of its images, and a host with an engine of its own."""

    home: Path
    engine: Engine
    registry: Registry
    host: LiveDir

    def pushed(self, tag: str, text: str) -> tuple[str, str]:
        """Build and push an image, remove it from the engine, and return its name and digest."""
        name = f"{self.registry.name}/pinned/app:{tag}"
        images.build(self.engine, name, images.busybox(("/bin/busybox", "sleep", text)))
        self.engine.docker("push", "-q", name)
        (pinned,) = json.loads(self.engine.text("image", "inspect", "-f", "{{json .RepoDigests}}", name))
        self.engine.docker("rmi", name, pinned, check=False)
        return name, pinned.partition("@")[2]

    def bundle(self, version: str, tag: str) -> BundleInput:
        """Return a bundle whose Compose file pins an image."""
        name, digest = self.pushed(tag, f"100000{tag}")
        place = self.home / version
        files = {
            "bundle.yaml": YAML.format(image=name),
            "CHANGELOG.md": f"# Changelog\n\n## {version}\n\nNew.\n",
            "config/chat.conf": "version = {{ waybill.version }}\n",
            "docs/UPGRADE.md": "# Upgrade\n\nNothing to do.\n",
            "web/index.html": "<!doctype html>\n",
            "deploy/apply.sh": '#!/bin/sh\necho ran > "$HOST/ran"\n',
            "deploy/undo.sh": '#!/bin/sh\nrm -f "$HOST/ran"\n',
            "deploy/compose.yaml": COMPOSE.format(image=name, digest=digest),
        }
        for path, text in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)
        target = self.home / f"{version}.tar"
        signer = person("Rea").signer
        write_bundle(plan_bundle(load(place, version)), target, (signer,), Progress())
        return BundleInput(str(target))

    def image(self) -> str:
        return self.engine.text("inspect", "-f", "{{.Config.Image}} {{.Image}}", f"{PRODUCT}-app-1")


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    running = Registry.launch()
    yield running
    running.stop()


@pytest.fixture
def site(docker_engine: Engine, registry: Registry, tmp_path: Path) -> Iterator[Site]:
    host = LiveDir(tmp_path / "host")
    trust = Path(host.root) / ROOT_FILE[1:]
    trust.parent.mkdir(parents=True)
    trust.write_bytes(root_bytes(root(environments={})))
    path = f"{docker_engine.path}:{Path(needs('compose')).parent}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", docker_engine.host)
        patch.setenv("PATH", path)
        yield Site(tmp_path, docker_engine, registry, host)
        clear(docker_engine)


def test_pinned_images_are_installed_upgraded_rolled_back_and_removed(site: Site) -> None:
    session = Session(site.host)
    apply(session, site.bundle("1.0.0", "1"), Options(), yes=True)
    first = site.image()
    assert first.split()[0] == f"{site.registry.name}/pinned/app:1"
    (found,) = status(session).products
    assert (found.drift, found.unfinished) == ((), "")
    apply(session, site.bundle("2.0.0", "2"), Options(), yes=True)
    assert site.image().split()[0] == f"{site.registry.name}/pinned/app:2"
    assert status(session).products[0].drift == ()
    rollback(session, None, None, Options(), yes=True)
    assert site.image() == first
    assert status(session).products[0].drift == ()
    site.engine.docker("rm", "-f", f"{PRODUCT}-app-1")
    assert [each.what for each in status(session).products[0].drift]
    done = remove(session, PRODUCT, yes=True)
    assert done.removal is not None
    assert done.removal.exit_code == 0
    assert site.registry.name not in site.engine.text("images")
