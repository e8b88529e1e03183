"""Services that are not as the release has them are named, and installing the release again repairs them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from installer.host.context import Context
from tests.rig.composed import Parts, composed, drift, project, same, services
from tests.rig.engine import Engine, wait_for
from tests.rig.needs import needs
from tests.rig.releases import PRODUCT, install, root

pytestmark = pytest.mark.needs("docker", "compose", "busybox")
PROBE = '["CMD", "/bin/busybox", "sh", "-c", "cat /sick && exit 3; exit 0"]'
PROBED = f"healthcheck: {{test: {PROBE}, interval: 1s, retries: 1}}"
RELEASE = project(1, Parts(keys={"db": PROBED}))
Disturb = Callable[[Engine, Context], object]


@pytest.fixture(scope="module")
def live(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    with composed(docker_engine, tmp_path_factory.mktemp("host")) as host:
        install(host, RELEASE)
        yield host


def compose(engine: Engine, live: Context, *words: str, change: Callable[[str], str] = str) -> None:
    """Run Compose by hand, as an operator who has edited a copy of the file would."""
    file = next((root(live) / "var/lib/waybill/lan-chat/releases").glob("*/deploy/compose.yaml"))
    copy = root(live) / "copy.yaml"
    copy.write_text(change(file.read_text()))
    env = {**engine.env, "WAYBILL_ROOT": str(root(live))}
    words = (needs("compose"), "-p", PRODUCT, "-f", str(copy), "--progress", "quiet", *words)
    subprocess.run(words, env=env, check=True, capture_output=True)


def sick(engine: Engine, _live: Context) -> None:
    engine.docker("exec", f"{PRODUCT}-db-1", "/bin/busybox", "sh", "-c", "echo the disk is full > /sick")
    form = "{{.State.Health.Status}}"
    wait_for("unhealthy", lambda: engine.text("inspect", "-f", form, f"{PRODUCT}-db-1") == "unhealthy", 30)


def edited(engine: Engine, live: Context) -> None:
    compose(engine, live, "up", "-d", "--no-deps", "db", change=lambda text: text.replace('"1"', '"9"'))


def unlabelled(engine: Engine, live: Context) -> None:
    compose(engine, live, "up", "-d", "--no-deps", "web")


def by_docker(*words: str) -> Disturb:
    return lambda engine, _live: engine.docker(*words)


@pytest.mark.parametrize(
    ("disturb", "found", "changed"),
    [
        (by_docker("rm", "-f", "lan-chat-web-1"), "web has no container", "web"),
        (by_docker("stop", "lan-chat-web-1"), "web is not running: exited, exit status 137", ""),
        (by_docker("pause", "lan-chat-web-1"), "web is paused", "web"),
        (sick, "db is unhealthy (health check: exit status 3: the disk is full)", "db"),
        (edited, "db was created from another model than that of the release", "db"),
        (unlabelled, "web was created with other files than those of the release", "web"),
        (by_docker("rm", "lan-chat-migrate-1"), "", "migrate"),
    ],
    ids=["removed", "stopped", "paused", "unhealthy", "other model", "other files", "a finished job removed"],
)
def test_a_service_that_is_not_as_released_is_named_and_repaired(
    live: Context, docker_engine: Engine, disturb: Disturb, found: str, changed: str
) -> None:
    before = services(docker_engine)
    disturb(docker_engine, live)
    assert drift(live) == ([f"service {found}"] if found else [])
    if found:
        install(live, RELEASE)
        assert same(before, services(docker_engine)) == before.keys() - {changed}
    assert drift(live) == []
    # Nothing is left to do, and so nothing is done.
    after = services(docker_engine)
    install(live, RELEASE)
    assert services(docker_engine) == after
