"""What secrets of stores do to health checks, and what is recorded of the places where they stand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from installer.planning.plan import Plan
from installer.state.known_secrets import known_secrets
from installer.state.release import record_bytes
from tests.rig.chatd import ONE
from tests.rig.releases import Member, ReleaseSpec, plan_for, root

TOKEN = "t0ken-of-the-monitor"


def spec(check: HealthCheck) -> ReleaseSpec:
    defaults = Member(b"monitor: {token: '', port: 8080}\n", kind="values")
    members = {**ONE.members, "config/values.yaml": defaults}
    return replace(ONE, members=members, values="config/values.yaml", health=(check,))


@pytest.fixture
def site(host: Context) -> Context:
    """A host with a token in its store of files."""
    place = root(host) / "etc/waybill/lan-chat"
    for name, text in (
        ("secrets/token", TOKEN),
        ("values.yaml", "monitor:\n  token: secret://file/token\n"),
    ):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    return host


def planned(host: Context, check: HealthCheck) -> Plan:
    return plan_for(host, spec(check))


def test_a_target_gets_the_secret(site: Context) -> None:
    plan = planned(site, HealthCheck("http", "http://127.0.0.1:8080/health?token={{ monitor.token }}"))
    assert plan.problems == ()
    assert plan.release
    assert plan.release.health[0].target.endswith(TOKEN)
    assert TOKEN not in json.dumps(plan.as_json())


def test_a_target_that_the_secret_spoils_is_named_and_not_quoted(site: Context) -> None:
    (problem,) = planned(site, HealthCheck("tcp", "{{ monitor.token }}")).problems
    assert problem.where == "bundle.json: health[0].target"
    assert (
        "{{ monitor.token }} is a text with a secret with the values of this host, but must be"
        in problem.what
    )


def test_a_command_never_gets_a_secret_as_an_argument(site: Context) -> None:
    (problem,) = planned(site, HealthCheck("command", "", ("/opt/d", "{{ monitor.token }}"))).problems
    assert problem.where == "bundle.json: health[0].command[1]"
    assert problem.what == (
        "{{ monitor.token }} would put a secret into the arguments of a program, which every user can read"
    )
    assert planned(site, HealthCheck("command", "", ("/opt/d", "{{ monitor.port }}"))).problems == ()


@pytest.mark.parametrize(
    "check",
    [
        HealthCheck("http", "http://127.0.0.1:8080/health?token={{ monitor.token }}"),
        HealthCheck("http", "http://h/", body="token {{ monitor.token }}"),
        HealthCheck("http", "http://h/", headers=("A: b", "X-Token: {{ monitor.token }}")),
    ],
    ids=["target", "body", "header"],
)
def test_a_secret_in_a_text_of_an_installed_release_stays_known(site: Context, check: HealthCheck) -> None:
    plan = planned(site, check)
    record = root(site) / "var/lib/waybill/lan-chat/rendered" / plan.number
    record.mkdir(parents=True)
    for name, data in plan.rendered.items():
        (record / name).write_bytes(data)
    assert plan.release
    (record / "record.json").write_bytes(record_bytes((), plan.release.health))
    assert TOKEN in known_secrets(site.system, site.layout)
    (record / "values.json").write_text("{}")
    assert TOKEN not in known_secrets(site.system, site.layout)
