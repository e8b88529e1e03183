"""Health: real servers, real commands, a clock that the test turns."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Sequence

import pytest

from installer.core.format.manifest import HealthCheck
from installer.deploy.health.needs import selected
from installer.deploy.health.probes import container_fault
from installer.deploy.health.watch import watch
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.host.system import System
from tests.rig.releases import Notes


class Clock(System):
    """A host on which waiting takes no time."""

    time = 0.0

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


pytestmark = pytest.mark.host(system=Clock)


class Server(http.server.ThreadingHTTPServer):
    """Answers with the statuses it is given, the last one for ever."""

    answers: Sequence[int] = (200,)
    asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/healthz?x=1"


@pytest.fixture
def server() -> Iterator[Server]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert isinstance(self.server, Server)
            status = self.server.answers[min(self.server.asked, len(self.server.answers) - 1)]
            self.server.asked += 1
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    running = Server(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_server_that_comes_up_in_time_is_healthy(host: Context, server: Server) -> None:
    server.answers = [503, 503, 200]
    (result,) = watch(host, [HealthCheck("http", server.url, within=5, stable=2)])
    assert (result.passed, result.attempts) == (True, 7)
    assert isinstance(host.progress, Notes)
    assert host.progress.lines[-1] == "health: OK"


def test_a_server_that_answers_otherwise_is_not(host: Context, server: Server) -> None:
    server.answers = [302]
    with pytest.raises(StepError) as caught:
        watch(host, [HealthCheck("http", server.url, within=3)])
    assert "did not pass within 3 s (7 attempts): answered 302, expected 200" in str(caught.value)


def test_a_server_that_fails_again_is_not(host: Context, server: Server) -> None:
    server.answers = [200, 200, 500]
    with pytest.raises(StepError, match="not healthy") as caught:
        watch(host, [HealthCheck("http", server.url, within=60, stable=5)])
    assert "passed, but failed again within 5 s: answered 500" in str(caught.value)


def test_every_probe_that_fails_is_named(host: Context) -> None:
    checks = [
        HealthCheck("tcp", "127.0.0.1:1", within=0),
        HealthCheck("command", "", ("sh", "-c", "echo the reason >&2; exit 3"), within=0),
        HealthCheck("http", "http://127.0.0.1:1/", within=0),
    ]
    with pytest.raises(StepError) as caught:
        watch(host, checks)
    text = str(caught.value)
    assert "tcp 127.0.0.1:1: did not pass within 0 s (1 attempts): Connection refused" in text
    assert "exit status 3: the reason" in text
    assert "http http://127.0.0.1:1/" in text


def test_no_probes_are_no_claim(host: Context) -> None:
    assert watch(host, []) == []


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        ({"State": {"Running": True, "Health": {"Status": "healthy"}}}, ""),
        ({"State": {"Running": True}}, ""),
        ({"State": {"Running": True, "Health": {"Status": "starting"}}}, "is starting"),
        ({"State": {"Running": True, "Restarting": True}}, "keeps restarting"),
        ({"State": {"Running": False, "Status": "exited", "ExitCode": 2}}, "is exited, exit status 2"),
        ("no such container", "no such container"),
    ],
    ids=["healthy", "without a check", "starting", "restarting", "exited", "missing"],
)
def test_what_is_wrong_with_a_container_is_named(found: dict[str, object] | str, fault: str) -> None:
    assert container_fault(found) == fault


def test_probes_of_methods_that_are_not_driven_are_not_asked() -> None:
    checks = (HealthCheck("tcp", "a:1"), HealthCheck("tcp", "b:1", when="compose"))
    assert selected(checks, ["files"], live=False) == []
    assert selected(checks, ["files"], live=True) == [checks[0]]
    assert selected(checks, ["files", "compose"], live=False) == list(checks)


def test_failures_do_not_count_in_the_start_period(host: Context, server: Server) -> None:
    server.answers = [503] * 14 + [200]
    check = HealthCheck("http", server.url, within=2, start_period=6)
    (result,) = watch(host, [check])
    assert result.attempts == 15
    server.asked, server.answers = 0, [503]
    with pytest.raises(StepError) as caught:
        watch(host, [check])
    assert "did not pass within 2 s after the start period of 6 s (17 attempts)" in str(caught.value)


@pytest.mark.parametrize(("period", "healthy"), [(3, True), (0, False)])
def test_restarts_in_the_start_period_are_no_failure(
    host: Context, server: Server, period: int, healthy: bool
) -> None:
    def restarts() -> dict[str, int]:
        return {"unit chatd.service": 3 if host.system.monotonic() >= 2 else 0}

    check = HealthCheck("http", server.url, stable=6, start_period=period)
    server.answers = [503] * 6 + [200]
    if healthy:
        watch(host, [check], restarts)
        return
    with pytest.raises(StepError, match="was restarted 3 times"):
        watch(host, [check], restarts)


def test_a_restart_after_all_probes_have_passed_counts_although_the_start_period_is_not_over(
    host: Context, server: Server
) -> None:
    def restarts() -> dict[str, int]:
        return {"unit chatd.service": int(host.system.monotonic() >= 3)}

    with pytest.raises(StepError, match="was restarted 1 times"):
        watch(host, [HealthCheck("http", server.url, stable=10, start_period=60)], restarts)
