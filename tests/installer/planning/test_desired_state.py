"""What the values of a host make of probes is checked while planning, before anything is stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from installer.planning.plan import Plan
from tests.rig.chatd import ONE
from tests.rig.releases import Member, plan_for, root


def planned(host: Context, check: HealthCheck, values: str = "") -> Plan:
    defaults = Member(b"host: 127.0.0.1\nport: 8080\nname: chat\n", kind="values")
    site = root(host) / "etc/waybill/lan-chat/values.yaml"
    site.parent.mkdir(parents=True, exist_ok=True)
    site.write_text(values)
    spec = replace(
        ONE,
        members={**ONE.members, "config/values.yaml": defaults},
        values="config/values.yaml",
        health=(check,),
    )
    return plan_for(host, spec)


def test_a_target_is_rendered_with_the_values_of_the_host(host: Context) -> None:
    plan = planned(host, HealthCheck("tcp", "{{ host }}:{{ port }}"), "port: 9\n")
    assert plan.problems == ()
    assert plan.release
    assert plan.release.health[0].target == "127.0.0.1:9"


@pytest.mark.parametrize(
    ("check", "values", "said"),
    [
        (HealthCheck("tcp", "{{ host }}:{{ port }}"), "port: 99999\n", "must be an address and port"),
        (HealthCheck("tcp", "{{ host }}:{{ port }}"), "host: a b\n", "must be an address and port"),
        (HealthCheck("http", "http://{{ host }}:{{ port }}/"), "port: 0\n", "must be a URL"),
        (HealthCheck("http", "http://{{ host }}/"), "host: user:secret@h\n", "must be a URL"),
        (HealthCheck("container", "{{ name }}"), "name: -f\n", "must be the name of a container"),
        (HealthCheck("command", "", ("{{ name }}",)), 'name: ""\n', "must be the name of a program"),
        (HealthCheck("tcp", "{{ host }}:{{ prt }}"), "", "prt is not defined"),
    ],
)
def test_a_target_that_the_values_make_useless_is_named_with_its_place(
    host: Context, check: HealthCheck, values: str, said: str
) -> None:
    (problem,) = planned(host, check, values).problems
    assert problem.where.startswith("bundle.json: health[0].")
    assert said in problem.what
    assert problem.hint
