"""Compose that is killed half-way: what the engine still does for it is over before the undo looks."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import RolledBackError
from installer.deploy.compose import command
from installer.deploy.compose.containers import containers, end_stops
from installer.host.context import Context
from installer.shared.terminal import interrupts
from tests.rig import images
from tests.rig.composed import Parts, composed, project, same, services
from tests.rig.engine import Engine
from tests.rig.needs import needs
from tests.rig.podman import PodmanEngine
from tests.rig.releases import PRODUCT, install

pytestmark = pytest.mark.needs("docker", "compose", "busybox")
SLOW_TO_STOP = 'trap "sleep 3; exit" TERM; while :; do sleep 0.1; done'
SLOW = """  slow:
    image: rig/box:1
    network_mode: none
    stop_grace_period: 60s
    environment: {{LEVEL: "{level}"}}
    command: [/bin/busybox, sh, -c, '{command}']
"""
BIG = """  big:
    image: rig/big:1
    network_mode: none
    volumes: ["copied:/copied"]
"""
BAD = """  bad:
    image: rig/box:1
    network_mode: none
    mem_limit: 1
    depends_on: [db]
"""
STOPPED = ("event=kill", "container=lan-chat-slow-1")


@pytest.fixture
def live(docker_engine: Engine, tmp_path: Path) -> Iterator[Context]:
    with composed(docker_engine, tmp_path) as host:
        yield host


def slow(level: int) -> Parts:
    """Give a project with a service that takes a while to stop."""
    return Parts(more=SLOW.format(level=level, command=SLOW_TO_STOP))


def when(engine: Engine, *filters: str, then: Callable[[], None]) -> threading.Thread:
    """Call as soon as the engine reports an event."""
    # From now on, also what happens before Docker's command line has connected.
    words = ["docker", "events", "--since", f"{time.time():.6f}"]
    words += [word for each in filters for word in ("--filter", each)]
    events = subprocess.Popen(words, env=engine.env, stdout=subprocess.PIPE)

    def wait() -> None:
        with events:
            assert events.stdout
            events.stdout.readline()
            then()
            events.kill()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("settled", [True, False], ids=["interrupted", "killed"])
def test_a_service_that_was_about_to_be_recreated_runs_again(
    live: Context, docker_engine: Engine, monkeypatch: pytest.MonkeyPatch, settled: bool
) -> None:
    install(live, project(1, slow(1)))
    before = services(docker_engine)
    if not settled:  # as after SIGKILL: nobody has waited
        monkeypatch.setattr(command, "settle", lambda *_words: None)
    thread = when(docker_engine, *STOPPED, then=interrupt(signal.SIGINT))
    with interrupts.handled(), pytest.raises(RolledBackError):
        install(live, project(2, slow(2)))
    thread.join(120)
    check_all_run(docker_engine)
    assert {"db", "migrate", "web"} <= same(before, services(docker_engine))


def test_a_project_that_was_about_to_be_removed_runs_again(live: Context, docker_engine: Engine) -> None:
    install(live, project(1, slow(1)))
    thread = when(docker_engine, *STOPPED, then=interrupt(signal.SIGTERM))
    with interrupts.handled(), pytest.raises(RolledBackError):
        install(live, replace(project(2), deploy=()))
    thread.join(120)
    check_all_run(docker_engine)


def test_a_container_that_the_engine_creates_a_moment_later_is_removed(
    live: Context, docker_engine: Engine
) -> None:
    def interrupt_a_slow_engine() -> None:
        os.kill(docker_engine.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        os.kill(docker_engine.pid, signal.SIGCONT)

    thread = when(docker_engine, "type=volume", "event=create", then=interrupt_a_slow_engine)
    with interrupts.handled(), pytest.raises(RolledBackError):
        install(live, project(1))
    thread.join(120)
    time.sleep(2)
    assert services(docker_engine) == {}


def test_a_container_that_podman_is_stopping_is_waited_for(
    podman_engine: PodmanEngine, tmp_path: Path
) -> None:
    with composed(podman_engine, tmp_path) as host:
        labels = [f"--label=com.docker.compose.{name}" for name in (f"project={PRODUCT}", "service=slow")]
        words = (
            "--network=none",
            "--stop-timeout=60",
            "--name=slow",
            "rig/box:1",
            "/bin/busybox",
            "sh",
            "-c",
        )
        podman_engine.docker("run", "-d", *labels, *words, SLOW_TO_STOP)
        since = int(time.time())
        asked = subprocess.Popen(["docker", "stop", "slow"], env=podman_engine.env)
        while podman_engine.text("inspect", "-f", "{{.State.Status}}", "slow") == "running":
            time.sleep(0.1)
        asked.kill()
        asked.wait()
        args = {"project": PRODUCT, "engine": podman_engine.host}
        there = end_stops(host, args, since, containers(host, PRODUCT, podman_engine.host))
        # First it has stopped, and then the process that cleans up after it has ended.
        assert {each.state["Status"] for each in there} <= {"stopped", "exited"}


def test_a_container_that_was_stopped_and_started_again_is_not_waited_for(
    live: Context, docker_engine: Engine
) -> None:
    install(live, project(1, slow(1)))
    docker_engine.docker("restart", "lan-chat-db-1")
    docker_engine.docker("kill", "-s", "HUP", "lan-chat-slow-1")  # to read its configuration again
    args = {"project": PRODUCT, "engine": docker_engine.host}
    there = containers(live, PRODUCT, docker_engine.host)
    assert end_stops(live, args, 0, there) == there


def test_a_clock_that_was_set_back_hides_no_stop(live: Context, docker_engine: Engine) -> None:
    install(live, project(1, slow(1)))
    since = int(time.time()) + 10**6
    thread = when(docker_engine, *STOPPED, then=lambda: None)
    asked = subprocess.Popen(["docker", "stop", "lan-chat-slow-1"], env=docker_engine.env)
    thread.join(120)
    asked.kill()
    asked.wait()
    time.sleep(1.1)  # another second than that of the signal
    args = {"project": PRODUCT, "engine": docker_engine.host}
    there = end_stops(live, args, since, containers(live, PRODUCT, docker_engine.host))
    assert [each.state["Status"] for each in there if each.service == "slow"] == ["exited"]


@pytest.mark.parametrize("how", ["interrupted", "a sibling fails"])
def test_a_container_that_takes_long_to_create_is_removed(
    live: Context, docker_engine: Engine, tmp_path: Path, how: str
) -> None:
    # Files of an image are copied into a new volume.
    interrupted = how == "interrupted"
    count = 12_000 if interrupted else 3_000
    files = {f"/copied/{number % 100}/{number}": b"x" * 100 for number in range(count)}
    rootfs = tmp_path / "big.tar"
    rootfs.write_bytes(images.tar_of({"/bin/busybox": Path(needs("busybox")), **files}))
    images.import_rootfs(docker_engine, "rig/big:1", rootfs, 'CMD ["/bin/busybox", "sleep", "100000"]')
    parts = Parts(more=BIG + ("" if interrupted else BAD), volumes=", copied: {}")
    filters = ("type=volume", "event=create", f"volume={PRODUCT}_copied")

    def interrupt_a_moment_later() -> None:
        time.sleep(0.2)
        interrupt(signal.SIGINT)()

    then = interrupt_a_moment_later if interrupted else lambda: None
    thread = when(docker_engine, *filters, then=then)
    with interrupts.handled(), pytest.raises(RolledBackError):
        install(live, project(1, parts))
    thread.join(120)
    time.sleep(3)
    assert services(docker_engine) == {}


def interrupt(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def check_all_run(engine: Engine) -> None:
    """Check that all services run, and that the engine does not stop any of them a moment later."""
    time.sleep(4)
    for name in ("db", "web", "slow"):
        assert engine.text("inspect", "-f", "{{.State.Status}}", f"lan-chat-{name}-1") == "running", name
