"""Compose gets the checked file and the one engine of this host, whatever somebody has set or edited."""

from __future__ import annotations

import pytest

from installer.commands import status
from installer.core.errors import NotUndoneError, RolledBackError
from installer.deploy.compose.method import METHOD
from installer.deploy.method import Target
from installer.deploy.method_registry import handler
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.state.release import open_release
from installer.state.state import load
from tests.rig.host import Host
from tests.rig.releases import install, plan_for, recovered, remove
from tests.rig.services import running_containers, with_project

pytestmark = [pytest.mark.needs("docker", "compose"), pytest.mark.host(machine="bookworm-docker")]


def directory(host: Context) -> str:
    """Return the directory of the release that runs."""
    current = load(host.system, host.layout).current
    assert current
    return host.layout.release(current.name)


def test_an_edited_compose_file_is_drift_and_is_never_given_to_compose(host: Context, machine: Host) -> None:
    install(host, with_project("1.0.0", 1))
    file = f"{directory(host)}/deploy/compose.yaml"
    machine.check(f"cp {file} /good && sed -i 's/VERSION: .1.0.0./VERSION: evil/' {file}")
    (problem,) = status.product_status(host).drift
    assert (problem.where, problem.what) == (file, "was changed since it was installed")
    assert [each.where for each in plan_for(host, with_project("2.0.0", 2)).problems] == [file]
    with pytest.raises(Exception, match="was changed since it was installed"):
        remove(host)
    assert running_containers(machine) == ["1.0.0 same"]
    machine.check(f"cp /good {file}")
    remove(host)
    assert machine.check("docker ps -aq") == ""


def test_a_compose_file_that_is_edited_while_an_upgrade_runs_does_not_undo_it(
    host: Context, machine: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(host, with_project("1.0.0", 1))
    file = f"{directory(host)}/deploy/compose.yaml"
    machine.check(f"cp {file} /good")
    run = host.system.run

    def edited(argv: list[str], **words: object) -> object:
        if "up" in argv:
            machine.check(f"sed -i 's/VERSION: .1.0.0./VERSION: evil/' {file}")
        return run(argv, **words)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(host.system, "run", edited)
        with pytest.raises(NotUndoneError, match="was not run"):
            install(host, with_project("2.0.0", 2, 'command: ["--no-such-option"]', config="new"))
    machine.check(f"cp /good {file}")
    assert recovered(host)
    assert running_containers(machine) == ["1.0.0 same"]


def test_a_file_of_variables_beside_the_compose_file_is_not_read(host: Context, machine: Host) -> None:
    install(host, with_project("1.0.0", 1))
    release = with_project("1.0.0", 1)
    member = release.members["deploy/compose.yaml"]
    member.data = member.data.replace(b'"1.0.0"', b'"${PLANTED:-1.0.0}"')
    install(host, release)
    machine.check(f"echo PLANTED=evil > {directory(host)}/deploy/.env")
    # Undone, the old project is created again, with the old file.
    with pytest.raises(RolledBackError):
        install(host, with_project("2.0.0", 2, 'command: ["--no-such-option"]', config="new"))
    assert running_containers(machine) == ["1.0.0 same"]


def test_a_docker_context_leads_nowhere_else(host: Context, machine: Host) -> None:
    """It is the operator's; verified images go to the socket of this host, and so does the project."""
    machine.check("docker context create far --docker host=tcp://192.0.2.1:2375 && docker context use far")
    assert machine.run("docker ps", timeout=5).rc != 0
    install(host, with_project("1.0.0", 1))
    assert status.product_status(host).drift == ()
    machine.check("docker context use default")
    assert running_containers(machine) == ["1.0.0 same"]


def test_the_plan_names_the_engine_and_an_engine_elsewhere_is_refused(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(host, with_project("1.0.0", 1))
    assert [line for each in plan.methods for line in each.lines][-1] == "engine: unix:///var/run/docker.sock"
    for address in ("tcp://192.0.2.1:2375", "ssh://root@chat.lan"):
        monkeypatch.setenv("DOCKER_HOST", address)
        (problem,) = plan_for(host, with_project("1.0.0", 1)).problems
        assert (problem.where, problem.what) == (address, "is not an engine of this host")
        assert "unset DOCKER_HOST" in problem.hint


def test_an_undo_uses_the_engine_that_the_operation_recorded(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recovery at boot has no DOCKER_HOST."""
    install(host, with_project("1.0.0", 1))
    current = load(host.system, host.layout).current
    assert current
    target = Target(open_release(host.system, host.layout, current), {"file": "deploy/compose.yaml"})
    (before, *_) = METHOD.operations(host, target, None)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert handler(before.kind).observe(host, before.args)["containers"]
    before.args["engine"] = "unix:///nowhere.sock"
    with pytest.raises(StepError):
        handler(before.kind).observe(host, before.args)


def test_the_file_of_an_older_journal_is_checked_too(host: Context, machine: Host) -> None:
    install(host, with_project("1.0.0", 1))
    current = load(host.system, host.layout).current
    assert current
    target = Target(open_release(host.system, host.layout, current), {"file": "deploy/compose.yaml"})
    (before, *_) = METHOD.operations(host, target, None)
    args = {key: value for key, value in before.args.items() if key not in ("files", "engine")}
    file = f"{directory(host)}/deploy/compose.yaml"
    machine.check(f"cp {file} /good && echo '# edited' >> {file}")
    with pytest.raises(Exception, match="was not run"):
        handler(before.kind).do(host, args, {})
    assert running_containers(machine) == ["1.0.0 same"]
    machine.check(f"cp /good {file}")
    handler(before.kind).do(host, args, {})
    assert machine.check("docker ps -aq") == ""
