"""The method `compose` with a real engine and a real Compose, on a host without network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from installer.commands import status
from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.core.errors import HostNotReadyError, Problem, RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck, Image
from installer.deploy.compose.command import find_tool
from installer.deploy.compose.method import METHOD
from installer.deploy.method import Target
from installer.host.context import Context
from installer.planning.planner import plan_remove
from installer.shared.child.process import Completed
from installer.state.release import open_release
from tests.rig.faulty import Killed
from tests.rig.host import Host
from tests.rig.releases import Member, ReleaseSpec, context, install, plan_for
from tests.rig.remote import Remote
from tests.rig.services import running_containers, with_project

pytestmark = [pytest.mark.needs("docker", "compose"), pytest.mark.host(machine="bookworm-docker")]


def test_compose_is_found_as_a_program_of_its_own(host: Context) -> None:
    assert find_tool(host) == ["docker-compose"]


def broken(host: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose does not run any more."""
    run = host.system.run

    def ran(argv: Sequence[str], **words: Any) -> Completed:
        if argv[0] == "docker-compose":
            return Completed(tuple(argv), 1, b"", b"exec format error")
        return run(argv, **words)

    monkeypatch.setattr(host.system, "run", ran)


def test_compose_is_asked_for_its_version_once_in_an_install_and_again_when_the_program_is_another(
    host: Context, machine: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, times = host.system.run, list[tuple[str, ...]]()

    def ran(argv: Sequence[str], **words: Any) -> Completed:
        times.append(tuple(argv))
        return run(argv, **words)

    monkeypatch.setattr(host.system, "run", ran)
    install(host, with_project("1.0.0", 1))
    asked = ("docker-compose", "version", "--short")
    assert times.count(asked) == 1
    place = machine.check("command -v docker-compose").strip()
    machine.check(f"cp -p {place} {place}.old && echo >> {place}")
    try:
        assert find_tool(host) == ["docker-compose"]
    finally:
        machine.check(f"mv {place}.old {place}")
    assert times.count(asked) == 2


def test_compose_that_does_not_answer_is_not_said_to_be_absent(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(host, monkeypatch)
    problem = find_tool(host)
    assert isinstance(problem, Problem)
    assert problem.what == "docker-compose version: exit status 1: exec format error"


def test_compose_that_does_not_run_any_more_is_refused_and_the_old_project_runs_on(
    host: Context, machine: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(host, with_project("1.0.0", 1))
    with monkeypatch.context() as patch:
        broken(host, patch)
        with pytest.raises(HostNotReadyError, match="exec format error"):
            install(host, with_project("2.0.0", 2, config="new"))
    with exclusive(host) as (state, recovered):
        assert state.current is not None
        assert state.current.version == "1.0.0"
        # What was staged of the new one goes with the next command.
        assert [each.outcome for each in recovered] == ["unstaged"]
    assert running_containers(machine) == ["1.0.0 same"]


def test_a_project_comes_up_changes_over_and_goes(host: Context, machine: Host) -> None:
    install(host, with_project("1.0.0", 1))
    assert running_containers(machine) == ["1.0.0 same"]
    install(host, with_project("2.0.0", 2, config="new"))
    assert running_containers(machine) == ["2.0.0 new"]
    assert status.product_status(host).drift == ()
    with exclusive(host) as (state, _):
        execute_plan(host, plan_remove(host, state))
    assert machine.check("docker ps -aq") == ""


def test_a_project_that_does_not_come_up_brings_the_old_one_back(host: Context, machine: Host) -> None:
    # Without a health check, Compose may see the container while it still runs, and report success.
    probed = 'healthcheck: {test: ["CMD", "/nats-server", "--version"], interval: 60s}'
    fails = f'command: ["--no-such-option"]\n    {probed}'
    install(host, with_project("1.0.0", 1))
    with pytest.raises(RolledBackError, match="docker compose up"):
        install(host, with_project("2.0.0", 2, fails, config="new"))
    assert running_containers(machine) == ["1.0.0 same"]


def test_what_a_failing_container_said_is_in_the_report_and_in_the_journal_without_secrets(
    host: Context, machine: Host
) -> None:
    secret = "wrong-horse-battery"
    release = with_project(
        "1.0.0", 1, f'command: ["--no-such-option", "--user={secret}"]', f"password: {secret}\n"
    )
    with pytest.raises(RolledBackError) as raised:
        install(host, release)
    said = [problem for problem in raised.value.problems if problem.where == "service nats"]
    assert "exit status" in said[0].what
    assert any("no-such-option" in problem.what for problem in said[1:])
    assert machine.check("docker ps -aq") == ""
    journal = machine.check("cat /var/lib/waybill/lan-chat/txn/*.done")
    assert "service nats: " in journal
    assert "no-such-option" in journal
    history = machine.check("cat /var/lib/waybill/lan-chat/history.jsonl")
    for text in (str(raised.value), history, *(problem.what for problem in raised.value.problems)):
        assert secret not in text


def test_what_containers_said_is_kept_when_the_release_is_not_healthy(host: Context, machine: Host) -> None:
    release = with_project("1.0.0", 1)
    probe = HealthCheck("tcp", "127.0.0.1:9", within=1)
    with pytest.raises(RolledBackError) as raised:
        install(host, replace(release, health=(probe,)))
    said = [problem.what for problem in raised.value.problems if problem.where == "service nats"]
    assert any("Server is ready" in line for line in said)


def test_a_project_of_another_name_takes_the_place_of_the_old_one(host: Context, machine: Host) -> None:
    def project(release: ReleaseSpec, name: str) -> ReleaseSpec:
        options = {"file": "deploy/compose.yaml", "project": name}
        probe = HealthCheck("container", f"{name}-nats-1", within=120, stable=1)
        return replace(release, deploy=(Deployment("compose", options),), health=(probe,))

    def projects() -> set[str]:
        form = '{{.Label "com.docker.compose.project"}}'
        return set(machine.check(f"docker ps -a --format '{form}'").split())

    install(host, project(with_project("1.0.0", 1), "before"))
    assert projects() == {"before"}
    plan = plan_for(host, project(with_project("2.0.0", 2), "after"))
    assert [line for each in plan.methods for line in each.lines] == [
        "stop and remove project before",
        "engine: unix:///var/run/docker.sock",
        "start project after from deploy/compose.yaml",
        "start service nats (image rig/nats:1)",
        "engine: unix:///var/run/docker.sock",
    ]
    with pytest.raises(RolledBackError):
        install(host, project(with_project("2.0.0", 2, 'command: ["--no-such-option"]'), "after"))
    assert projects() == {"before"}
    assert running_containers(machine) == ["1.0.0 same"]
    install(host, project(with_project("2.0.0", 2), "after"))
    assert projects() == {"after"}
    assert running_containers(machine) == ["2.0.0 same"]
    with exclusive(host) as (state, _):
        execute_plan(host, plan_remove(host, state))
    assert projects() == set()


def test_a_container_of_an_image_that_was_not_signed_is_drift(host: Context, machine: Host) -> None:
    install(host, with_project("1.0.0", 1))
    with exclusive(host) as (state, _):
        assert state.current
        release = open_release(host.system, host.layout, state.current)
    runs = machine.check("docker inspect --format '{{.Image}}' lan-chat-nats-1").strip()

    def drift(config: str) -> list[str]:
        image = Image("rig/nats:1", "linux/amd64", config, f"sha256:{'0' * 64}", ())
        manifest = replace(release.manifest, images=(image,))
        target = Target(replace(release, manifest=manifest), {"file": "deploy/compose.yaml"})
        return [f"{problem.where} {problem.what}" for problem in METHOD.drift(host, target)]

    assert drift(runs) == []
    assert drift(f"sha256:{'1' * 64}") == [
        f"service nats runs from image {runs[7:19]}, which does not belong to this release"
    ]
    machine.check("docker stop lan-chat-nats-1")
    assert "is not running" in drift(runs)[0]


def test_a_first_install_that_fails_leaves_no_container(host: Context, machine: Host) -> None:
    with pytest.raises(RolledBackError):
        install(host, with_project("1.0.0", 1, 'command: ["--no-such-option"]'))
    assert machine.check("docker ps -aq") == ""


def test_only_a_change_of_configuration_reaches_the_container_too(host: Context, machine: Host) -> None:
    release = with_project("1.0.0", 1)
    install(host, release)
    install(host, with_project("1.0.0", 2, config="other"))
    assert running_containers(machine) == ["1.0.0 other"]


@pytest.mark.parametrize("effect", ["up -d", "rename"])
def test_the_old_project_runs_again_after_a_kill_on_the_way(
    host: Context, machine: Host, effect: str
) -> None:
    install(host, with_project("1.0.0", 1))
    before = machine.check("docker ps -q --no-trunc")
    dying = Remote(machine)
    if effect == "rename":
        dying.rename = dying._die  # type: ignore[assignment]
    dying.die_at = effect
    with pytest.raises((Killed, TypeError)):
        install(context(dying), with_project("2.0.0", 2, config="new"))
    with exclusive(host):
        pass
    assert running_containers(machine) == ["1.0.0 same"]
    if effect == "rename":
        assert machine.check("docker ps -q --no-trunc") == before


def test_a_project_that_is_not_ours_is_found_before(host: Context, machine: Host) -> None:
    machine.check("docker run -d --label com.docker.compose.project=lan-chat rig/nats:1")
    (problem,) = plan_for(host, with_project("1.0.0", 1)).problems
    assert "project lan-chat exists already" in problem.what


def test_a_project_of_another_product_is_refused_by_its_name_before_anything(host: Context) -> None:
    install(host, with_project("1.0.0", 1))
    wanted = with_project("1.0.0", 1)
    options = {**wanted.deploy[0].options, "project": "lan-chat"}
    members = {**wanted.members, "config/chat.conf": Member(b"x", "/etc/other.conf", kind="template")}
    steps = (replace(wanted.deploy[0], options=options),)
    other = replace(wanted, product="other", members=members, deploy=steps)
    problems = plan_for(context(host.system, "other"), other).problems
    assert ("project lan-chat", "belongs to lan-chat, which is installed on this host") in [
        (problem.where, problem.what) for problem in problems
    ]


def test_a_missing_docker_command_line_is_named_before_anything_is_changed(
    host: Context, machine: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = host.system.which
    monkeypatch.setattr(host.system, "which", lambda tool: None if tool == "docker" else which(tool))
    problems = plan_for(host, with_project("1.0.0", 1)).problems
    assert [(problem.where, problem.what.split(";")[0].split(",")[0]) for problem in problems] == [
        ("docker", "is not installed"),
        ("docker", "is not installed"),
    ]
    assert "Waybill cannot read the state of the containers" in str(problems)
    assert "the health checks of lan-chat-nats-1 need it" in str(problems)
    assert all("command line" in problem.hint for problem in problems)


def test_a_stopped_container_is_drift(host: Context, machine: Host) -> None:
    install(host, with_project("1.0.0", 1))
    machine.check("docker stop lan-chat-nats-1")
    (problem,) = status.product_status(host).drift
    assert "is not running" in problem.what
