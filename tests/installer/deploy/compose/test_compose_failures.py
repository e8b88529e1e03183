"""A project that fails: what is said of it, what is undone; and jobs, which end without failing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import Problem, RolledBackError
from installer.core.format.manifest import HealthCheck
from installer.deploy.compose.method import METHOD
from installer.deploy.method import Target
from installer.deploy.method_registry import handler
from installer.deploy.operation import Json
from installer.host.context import Context
from installer.state.release import open_release
from installer.state.state import load
from tests.rig.composed import IMAGES, STOPS, Parts, composed, drift, project, same, services
from tests.rig.engine import Engine
from tests.rig.releases import install, planned

pytestmark = pytest.mark.needs("docker", "compose", "busybox")
SICK = (HealthCheck("command", "", command=("/bin/false",), within=0),)
SHELL = (
    "  {name}:\n    image: rig/box:1\n    network_mode: none\n    command: [/bin/busybox, sh, -c, '{line}']\n"
)


@pytest.fixture
def live(docker_engine: Engine, tmp_path: Path) -> Iterator[Context]:
    with composed(docker_engine, tmp_path) as host:
        yield host


def says(line: str) -> str:
    return f"command: [/bin/busybox, sh, -c, 'echo {line}; exec sleep 100000']"


def failed(live: Context, number: int, parts: Parts) -> list[Problem]:
    """Return what is said of a release that fails."""
    with pytest.raises(RolledBackError) as raised:
        install(live, project(number, parts))
    return [each for each in raised.value.problems if each.where.startswith("service ")]


def status(engine: Engine, service: str) -> str:
    return engine.text("inspect", "-f", "{{.State.Status}}", f"lan-chat-{service}-1")


def target(live: Context) -> Target:
    current = load(live.system, live.layout).current
    assert current
    return Target(open_release(live.system, live.layout, current), {"file": "deploy/compose.yaml"})


def test_only_the_service_that_fails_is_reported_with_its_health_check_and_its_last_lines(
    live: Context,
) -> None:
    keys = {"db": says("db is fine"), "web": f"{says('web is lost')}\n    {STOPS}"}
    said = failed(live, 1, Parts(keys=keys))
    assert {each.where for each in said} == {"service web"}
    assert [each.what for each in said] == [
        "is unhealthy",
        "health check: exit status 3: the page is gone",
        "web is lost",
    ]


def test_a_job_that_nobody_waits_for_may_end_and_one_that_fails_is_named(
    live: Context, docker_engine: Engine
) -> None:
    install(live, project(1, Parts(more=SHELL.format(name="job", line="exit 0"))))
    assert (status(docker_engine, "job"), drift(live)) == ("exited", [])
    first = services(docker_engine)
    install(live, project(2, Parts(page="new", more=SHELL.format(name="job", line="exit 0"))))
    assert same(first, services(docker_engine)) == {"db", "migrate", "job"}
    said = failed(live, 3, Parts(page="new", more=SHELL.format(name="job", line="echo no room; exit 3")))
    assert {each.where for each in said} == {"service job"}
    assert [each.what for each in said] == ["is not running: exited, exit status 3", "no room"]
    assert drift(live) == []


def test_a_service_with_a_health_check_that_ends_is_no_job(live: Context) -> None:
    probe = "    healthcheck: {test: [CMD, /bin/busybox, 'true'], interval: 60s}\n"
    said = failed(live, 1, Parts(more=SHELL.format(name="api", line="echo no license") + probe))
    assert [(each.where, each.what) for each in said] == [
        ("service api", "is not running: exited, exit status 0"),
        ("service api", "no license"),
    ]


def test_a_service_that_keeps_crashing_fails_the_release_although_it_runs_in_between(live: Context) -> None:
    line = "echo no database; sleep 1; exit 4"
    crashing = SHELL.format(name="api", line=line) + "    restart: always\n"
    watched = (HealthCheck("command", "", command=("/bin/true",), within=5, stable=5),)
    said = failed(live, 1, Parts(more=crashing, health=watched))
    assert {each.where.partition(" (")[0] for each in said} == {"service api"}
    assert any("restarted" in each.what for each in said)
    assert "no database" in [each.what for each in said]


def test_an_undo_leaves_stopped_what_was_stopped_and_runs_no_job_again_that_others_wait_for(
    live: Context, docker_engine: Engine
) -> None:
    aside = SHELL.format(name="side", line="exec sleep 100000") + "    stop_grace_period: 0s\n"
    # Run a second time it would fail, as a migration does that finds the data of a newer release.
    old = Parts(more=aside, job="/bin/busybox mkdir /data/one")
    install(live, project(1, old))
    docker_engine.docker("stop", "lan-chat-side-1")
    before = services(docker_engine)
    failed(live, 2, replace(old, image=IMAGES[1], job="exit 0", health=SICK))
    assert (status(docker_engine, "side"), status(docker_engine, "web")) == ("exited", "running")
    assert status(docker_engine, "migrate") == "created"
    assert same(before, services(docker_engine)) == {"db", "side"}
    assert drift(live) == ["service side is not running: exited, exit status 137"]


@pytest.mark.parametrize(("page", "recreated"), [("new", {"web"}), ("same", set[str]())])
def test_an_undo_recreates_what_was_restarted_if_other_files_may_have_been_there(
    live: Context, docker_engine: Engine, page: str, recreated: set[str]
) -> None:
    install(live, project(1))
    with planned(live, project(2, Parts(page=page))) as plan:
        (before,) = [op for op in plan.operations if op.kind == "compose.before"]
    preimage = handler(before.kind).observe(live, before.args)
    first = services(docker_engine)
    docker_engine.docker("restart", "lan-chat-web-1")
    handler(before.kind).undo(live, before.args, preimage)
    assert same(first, services(docker_engine)) == first.keys() - recreated
    assert drift(live) == []


def test_journals_of_earlier_versions_recreate_all_containers(live: Context, docker_engine: Engine) -> None:
    def earlier(args: Json, **more: object) -> Json:
        new = ("services", "contents", "again")
        return {**{key: value for key, value in args.items() if key not in new}, **more}

    install(live, project(1))
    before, up = METHOD.operations(live, target(live), target(live))
    preimage = handler(before.kind).observe(live, before.args)
    del preimage["services"]
    docker_engine.docker("restart", "lan-chat-web-1")
    first = services(docker_engine)
    handler(before.kind).undo(live, earlier(before.args), preimage)
    undone = services(docker_engine)
    assert same(first, undone) == set()
    handler(up.kind).do(live, earlier(up.args, recreate=True), {"there": True})
    assert same(undone, services(docker_engine)) == set()
    # Containers without a label are not said to be wrong, and get one with the next release.
    assert drift(live) == []
    install(live, project(2))
    assert same(undone, services(docker_engine)) == set()
    assert drift(live) == []
