"""Values of the site reach a Compose project, and nothing else does, on a real engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.commands import status
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.core.format.manifest import Deployment
from installer.host.context import Context
from installer.planning import plan_text
from installer.planning.plan import Options
from installer.shared.values import Layer
from installer.state.state import load
from tests.rig.faulty import Killed
from tests.rig.host import Host
from tests.rig.releases import Member, ReleaseSpec, install, plan_for, recovered, remove, roll_back
from tests.rig.remote import Remote
from tests.rig.services import running_containers, with_project

pytestmark = [pytest.mark.needs("docker", "compose"), pytest.mark.host(machine="bookworm-docker")]

FILE = """services:
  nats:
    image: rig/nats:1
    environment: {VERSION: "${GREETING}", PASSWORD: "${PASSWORD}", HERE: "${TZ:-none} ${USER:-nobody}"}
    command: ["/nats-server", "--http_port", "8222", "${ARGUMENT:--D}"]
    volumes: ["/etc/chat.conf:/chat.conf:ro"]
"""
ENV = b"""GREETING={{ greeting | env("compose") }}
PASSWORD={{ password | env("compose") }}
{% if greeting == "broken" %}
ARGUMENT=--no-such-option
{% endif %}
"""
VALUES = b"greeting: hello\npassword: start-horse\n"
FAILS = ("${ARGUMENT:--D}", "--no-such-option")
CURRENT = "/var/lib/waybill/lan-chat/current/deploy"


def release(version: str, *edits: tuple[str, str], env: bytes = ENV) -> ReleaseSpec:
    """A project whose one container tells a value of the site as its version."""
    sequence = int(version.partition(".")[0])
    made = with_project(version, sequence)
    text = FILE
    for old, new in edits:
        text = text.replace(old, new)
    members = {
        **made.members,
        "deploy/compose.yaml": Member(text.encode(), kind="compose"),
        "deploy/compose.env.j2": Member(env, kind="template"),
        "config/values.yaml": Member(VALUES, kind="values"),
    }
    step = Deployment("compose", {"file": "deploy/compose.yaml", "env": "deploy/compose.env.j2"})
    return replace(made, members=members, deploy=(step,), values="config/values.yaml")


def values(greeting: str) -> Options:
    """The site's values of one command."""
    return Options(values=(Layer("site.yaml", f"greeting: {greeting}\npassword: other-horse\n".encode()),))


def file(machine: Host) -> str:
    """The environment file of the running release."""
    return machine.check(f"cat {CURRENT}/.env")


def test_values_reach_the_project_and_its_operator_and_change_with_the_site(
    host: Context, machine: Host
) -> None:
    install(host, release("1.0.0"))
    assert running_containers(machine) == ["hello same"]
    inside = machine.check("docker inspect -f '{{.Config.Env}}' lan-chat-nats-1")
    assert "HERE=none nobody" in inside
    # What the operator types by hand sees the same, whatever the shell has.
    by_hand = f"env -i PATH=$PATH docker-compose -f {CURRENT}/compose.yaml"
    assert "lan-chat-nats-1" in machine.check(f"{by_hand} ps")
    assert "VERSION: hello" in machine.check(f"{by_hand} config")
    assert machine.check(f"stat -c %a {CURRENT}/.env").strip() == "600"

    plan = plan_for(host, release("1.0.0"), values("it's $HOME"))
    shown = plan_text.plan_text(plan)
    assert '+GREETING="it\'s \\$HOME"' in shown
    assert "horse" not in shown
    install(host, release("1.0.0"), values("it's $HOME"))
    assert "VERSION=it's $HOME " in machine.check("docker inspect -f '{{.Config.Env}} ' lan-chat-nats-1")
    assert status.product_status(host).drift == ()
    assert plan_for(host, release("1.0.0"), values("it's $HOME")).nothing


def test_a_failed_upgrade_and_a_rollback_bring_the_values_of_then_back(host: Context, machine: Host) -> None:
    install(host, release("1.0.0"), values("first"))
    with pytest.raises(RolledBackError):
        install(host, release("2.0.0", FAILS), values("second"))
    assert running_containers(machine) == ["first same"]
    assert "GREETING='first'" in file(machine)
    # The same release with other values replaces its own directory, and gets it back.
    with pytest.raises(RolledBackError):
        install(host, release("1.0.0"), values("broken"))
    assert running_containers(machine) == ["first same"]
    assert "GREETING='first'" in file(machine)
    install(host, release("2.0.0"), values("second"))
    assert running_containers(machine) == ["second same"]
    roll_back(host)
    assert running_containers(machine) == ["first same"]
    assert "GREETING='first'" in file(machine)
    remove(host)
    assert machine.check("docker ps -aq") == ""
    assert machine.check("find /var/lib/waybill -name .env -o -name '.run-*'") == ""


def test_a_killed_installation_is_undone_with_the_values_of_then(host: Context, machine: Host) -> None:
    install(host, release("1.0.0"), values("first"))
    assert isinstance(host.system, Remote)
    host.system.die_at = "up -d"
    with pytest.raises(Killed):
        install(host, release("1.0.0"), values("second"))
    host.system.dead, host.system.die_at = False, ""
    assert recovered(host)
    assert running_containers(machine) == ["first same"]
    assert "GREETING='first'" in file(machine)
    assert machine.check("find /var/lib/waybill -name '.run-*'") == ""


def test_an_edited_file_is_drift_and_never_given_to_compose(host: Context, machine: Host) -> None:
    install(host, release("1.0.0"), values("first"))
    machine.check(f"sed -i s/first/evil/ {CURRENT}/.env")
    (problem,) = status.product_status(host).drift
    assert problem.where.endswith("/deploy/.env")
    with pytest.raises(RolledBackError):
        install(host, release("2.0.0", FAILS), values("second"))
    assert running_containers(machine) == ["first same"]
    # Installed again, it is as it was.
    install(host, release("1.0.0"), values("first"))
    assert "evil" not in file(machine)
    assert status.product_status(host).drift == ()


def test_the_plan_refuses_what_has_no_value_and_what_compose_refuses(host: Context, machine: Host) -> None:
    plan = plan_for(host, release("1.0.0", env=b"GREETING=x\n"))
    where, what = "deploy/compose.yaml:4", "uses $PASSWORD, which has no value and no default"
    assert [(each.where, each.what) for each in plan.problems] == [(where, what)]
    with pytest.raises(HostNotReadyError):
        install(host, release("1.0.0", env=b"GREETING=x\n"))
    port = ("volumes:", "ports: ['${GREETING}:80']\n    volumes:")
    (problem, *_) = plan_for(host, release("1.0.0", port), values("nonsense")).problems
    assert problem.where == "deploy/compose.yaml"
    assert "docker compose config" in problem.what
    assert "invalid" in problem.what
    assert machine.check("docker ps -aq") == ""


def test_values_that_cannot_be_used_are_told_as_such(host: Context, machine: Host) -> None:
    install(host, release("1.0.0"))
    for layer, where in (
        ("greeting: [", "site.yaml"),
        ("password: secret://file/absent", "/etc/waybill/lan-chat/secrets/absent"),
    ):
        plan = plan_for(host, release("1.0.0"), Options(values=(Layer("site.yaml", layer.encode()),)))
        assert any(where in f"{each.where} {each.what}" for each in plan.problems)
        assert not any("Compose" in each.what for each in plan.problems)


def test_a_lost_file_is_found_beside_the_compose_file_and_else_nothing_runs(
    host: Context, machine: Host
) -> None:
    install(host, release("1.0.0"), values("first"))
    current = load(host.system, host.layout).current
    assert current
    record = host.layout.record(current.record)
    machine.check(f"cd {record} && for f in [0-9]*; do echo x >> $f; done")
    with pytest.raises(RolledBackError):
        install(host, release("2.0.0", FAILS), values("second"))
    assert running_containers(machine) == ["first same"]
    machine.check(f"mv {CURRENT}/.env /env")
    with pytest.raises(RolledBackError, match="not what was rendered"):
        remove(host)
    assert running_containers(machine) == ["first same"]
    machine.check(f"mv /env {CURRENT}/.env")


def test_an_override_of_the_site_is_used_and_comes_back_as_it_was(host: Context, machine: Host) -> None:
    def allowing(spec: ReleaseSpec) -> ReleaseSpec:
        (step,) = spec.deploy
        return replace(spec, deploy=(replace(step, options={**step.options, "override": "site.yaml"}),))

    def label() -> str:
        return machine.check("docker inspect -f '{{.Config.Labels.room}}' lan-chat-nats-1").strip()

    def write(room: str) -> None:
        text = f"services: {{nats: {{labels: {{room: '{room} $GREETING'}}}}}}"
        assert machine.run(f"mkdir -p /etc/waybill/lan-chat && cat > {site}", stdin=text.encode()).rc == 0

    site = "/etc/waybill/lan-chat/site.yaml"
    try:
        write("one")
        # A release that does not say so takes none.
        install(host, release("1.0.0"))
        assert label() == "<no value>"
        install(host, allowing(release("2.0.0")))
        assert label() == "one hello"
        write("two")
        plan = plan_for(host, allowing(release("2.0.0")))
        assert "+services: {nats: {labels: {room: 'two $GREETING'}}}" in plan_text.plan_text(plan)
        with pytest.raises(RolledBackError):
            install(host, allowing(release("3.0.0", FAILS)))
        assert label() == "one hello"
        install(host, allowing(release("3.0.0")))
        assert label() == "two hello"
        machine.check(f"rm {site}")
        roll_back(host)
        assert label() == "one hello"
        machine.check(f"echo 'services: {{nats: {{nonsense: 1}}}}' > {site}")
        (problem, *_) = plan_for(host, allowing(release("4.0.0"))).problems
        assert "docker compose config" in problem.what
    finally:
        machine.check(f"rm -f {site}")
