"""`status --health` and `metrics --health`: the health checks of the installed release, asked once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from installer.commands import metrics
from installer.commands.common.health_report import ask_health
from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from installer.state.state import Entry, load
from tests.rig.bench import Bench
from tests.rig.chatd import ONE
from tests.rig.configured import configured
from tests.rig.httpservers import Page, serving
from tests.rig.releases import install

INTO = "/var/lib/node-exporter"


@pytest.fixture
def page() -> Page:
    return Page(200, {"X-Version": "1.4.0"}, b'{"status":"ok"}')


@pytest.fixture
def watched(bench: Bench, page: Page) -> Iterator[Bench]:
    """A host with a release whose page is asked; `when` is what makes a directory count as a host."""
    with serving(page) as port:
        url = f"http://127.0.0.1:{port}/health?token=t0p-secret"
        web = HealthCheck("http", url, body='"status":"ok"', headers=("X-Version: 1.4.0",), when="files")
        program = HealthCheck("command", "", ("sh", "-c", "exit 0"), when="files")
        code, _, said = bench.run(str(bench.bundle(configured(health=(web, program)))), "--yes")
        assert code == 0, said
        page.asked.clear()
        yield bench


def test_each_check_is_asked_once_and_shown_with_what_it_said(watched: Bench, page: Page) -> None:
    code, text = watched.text("status", "--health")
    assert code == 0
    assert "  health     all 2 health checks passed:" in text
    assert "/health?token=***: answered 200" in text
    assert "    ok     command sh -c exit 0: exit status 0" in text
    assert len(page.asked) == 1


def test_a_check_that_fails_is_exit_code_3_and_says_why(watched: Bench, page: Page) -> None:
    page.body = b'{"status":"starting"}'
    code, text = watched.text("status", "--health")
    assert code == 3
    assert "  UNHEALTHY  1 of 2 health checks failed:" in text
    assert 'answered 200, but the body does not contain \'"status":"ok"\'' in text
    code, document, _ = watched.run("status", "--health")
    assert code == document["exit"] == 3
    health = document["products"][0]["health"]
    assert (health["healthy"], health["not_asked"]) == (False, None)
    assert [each["healthy"] for each in health["checks"]] == [False, True]
    assert "t0p-secret" not in str(document)


def test_nobody_is_asked_unless_told_so(watched: Bench, page: Page) -> None:
    code, document, _ = watched.run("status", "--check")
    assert (code, document["products"][0]["health"]) == (0, None)
    assert "health" not in watched.text("status")[1]
    assert page.asked == []


def test_a_release_without_checks_says_so_and_is_not_called_unhealthy(bench: Bench) -> None:
    assert bench.run(str(bench.bundle(configured())), "--yes")[0] == 0
    code, text = bench.text("status", "--health")
    assert (code, "the release has no health checks for this host" in text) == (0, True)


def test_where_nothing_is_installed_there_is_nothing_to_ask(watched: Bench) -> None:
    assert watched.run("remove", "lan-chat", "--yes")[0] == 0
    code, document, _ = watched.run("status", "--health")
    assert (code, document["products"][0]["health"]) == (0, None)


def test_metrics_have_the_health_only_when_asked_for_it(watched: Bench, page: Page) -> None:
    (watched.host / INTO[1:]).mkdir(parents=True)
    (watched.host / metrics.SETTING[1:]).write_text(f"{INTO}\n")
    prom = watched.host / INTO[1:] / "waybill-lan-chat.prom"
    assert watched.run("metrics")[0] == 0
    assert b"waybill_health" not in prom.read_bytes()
    assert page.asked == []
    page.status = 503
    assert watched.run("metrics", "--health")[0] == 0
    lines = [line for line in prom.read_text().splitlines() if line.startswith("waybill_health{")]
    assert [line.rpartition(" ")[2] for line in lines] == ["0", "1"]
    assert lines[1] == 'waybill_health{product="lan-chat",probe="command sh -c exit 0"} 1'
    assert "t0p-secret" not in prom.read_text()


def current(host: Context) -> Entry | None:
    return load(host.system, host.layout).current


def test_the_checks_are_not_asked_while_the_host_is_being_changed(host: Context) -> None:
    install(host, replace(ONE, health=(HealthCheck("command", "", ("true",), when="files"),)))
    report = ask_health(host, current(host), is_changing=True)
    assert report
    assert not report.is_healthy
    assert report.as_json() == {
        "healthy": None,
        "not_asked": "the host is being changed",
        "checks": [],
        "skipped": [],
    }
    assert list(report.lines()) == ["  health     not asked: the host is being changed"]
