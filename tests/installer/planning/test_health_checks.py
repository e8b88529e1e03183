"""A health check that is not asked on a host is named, with the reason, before and after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from installer.planning.plan import Options, Plan
from installer.planning.plan_text import plan_text
from tests.rig.bench import Bench
from tests.rig.chatd import ONE
from tests.rig.configured import configured
from tests.rig.livedir import LiveDir
from tests.rig.releases import context, plan_for, root

CHECK = HealthCheck("command", "", ("false",))
OF_SCRIPT = replace(CHECK, when="script")
SCRIPT = Deployment("script", {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"})
SALT = Deployment("salt", {"state": ["deploy/init.sls"]}, optional=True)
SYSTEMD = Deployment("systemd", {"units": ["deploy/x.service"]})
BELOW = 'health check "command false" is skipped with --root; '


def plan(
    host: Context, *steps: Deployment, checks: tuple[HealthCheck, ...] = (CHECK,), skip: str = ""
) -> Plan:
    options = Options(skip=frozenset(skip.split()))
    return plan_for(host, replace(ONE, deploy=steps, health=checks), options)


def risks(found: Plan) -> list[str]:
    return [each.where for each in found.review.risks] + [each.where for each in found.review.programs]


@pytest.mark.parametrize(
    ("steps", "skip", "remedy"),
    [
        ((), "", "it runs only on a running host"),
        ((SYSTEMD,), "", "it runs only on a running host"),
        ((SCRIPT,), "script", "it runs only on a running host"),
        ((SALT, SCRIPT), "", "add --only files,script to run it on this machine"),
        ((SALT, SYSTEMD), "", "add --only files,salt to run it on this machine"),
    ],
)
def test_a_plan_names_each_check_that_a_root_leaves_out(
    host: Context, steps: tuple[Deployment, ...], skip: str, remedy: str
) -> None:
    found = plan(host, *steps, skip=skip)
    assert BELOW + remedy in found.notes
    assert f"note: {BELOW}{remedy}" in plan_text(found)
    assert found.as_json()["skipped_checks"] == [
        {"name": "command false", "step": None, "reason": f"skipped with --root; {remedy}"}
    ]


def test_a_check_of_a_step_is_skipped_with_it_also_on_a_live_host(host: Context) -> None:
    for where in (host, context(LiveDir(root(host)))):
        found = plan(where, SCRIPT, checks=(OF_SCRIPT,), skip="script")
        assert 'health check "command false" is skipped with its step "script"' in found.notes
        (row,) = found.as_json()["skipped_checks"]
        assert (row["step"], row["reason"]) == ("script", 'skipped with its step "script"')


def test_a_check_that_is_skipped_is_no_risk_and_one_that_is_asked_is(host: Context) -> None:
    asked = replace(CHECK, when="files")
    found = plan(host, SCRIPT, checks=(CHECK, asked, OF_SCRIPT))
    assert {each for each in risks(found) if "health" in each} == {"bundle.json: health[1]"}
    live = plan(context(LiveDir(root(host))), checks=(CHECK, asked))
    assert {each for each in risks(live) if "health" in each} == {
        "bundle.json: health[0]",
        "bundle.json: health[1]",
    }
    assert live.skipped_checks == ()


def test_the_name_of_a_skipped_check_has_no_secret(bench: Bench) -> None:
    check = HealthCheck("http", "http://127.0.0.1:1/?token=t0p-secret")
    said = bench.text(str(bench.bundle(configured(health=(check,)))), "--yes")[1]
    assert 'note: health check "http http://127.0.0.1:1/?token=***" is skipped with --root' in said
    assert "t0p-secret" not in said


def test_the_result_says_how_many_checks_were_not_asked(bench: Bench) -> None:
    asked = replace(CHECK, command=("true",), when="files")
    bundle = str(bench.bundle(configured(health=(CHECK, asked, OF_SCRIPT), script="#!/bin/sh\n")))
    code, said = bench.text(bundle, "--yes")
    assert code == 0
    line = "installed; 1 of 1 health checks passed; 1 health check skipped with --root"
    assert f"lan-chat 1.4.0 {line}\n" in said
    assert bench.run("remove", "lan-chat", "--yes")[0] == 0
    _, document, _ = bench.run(bundle, "--yes")
    assert [each["name"] for each in document["health"]] == ["command true"]
    assert [each["step"] for each in document["plan"]["skipped_checks"]] == [None, "script"]


def test_the_health_of_an_installed_release_names_the_checks_that_are_not_asked(bench: Bench) -> None:
    assert bench.run(str(bench.bundle(configured(health=(CHECK,)))), "--yes")[0] == 0
    code, said = bench.text("status", "--health")
    assert code == 0
    assert "  health     not known: none of the health checks is asked on this host\n" in said
    assert "    skipped with --root: command false\n" in said
    _, document, _ = bench.run("status", "--health")
    assert document["products"][0]["health"]["healthy"] is None
    (row,) = document["products"][0]["health"]["skipped"]
    assert (row["name"], row["reason"]) == ("command false", "skipped with --root")
