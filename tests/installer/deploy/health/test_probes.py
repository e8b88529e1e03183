"""One attempt of a probe: what it demands of an answer, and what it says of it."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.format.manifest import HealthCheck
from installer.deploy.health import probes
from installer.deploy.health.probes import (
    answer_fault,
    ask,
    ask_once,
    probe_name,
    query_answer,
    shown_url,
    unit_fault,
)
from installer.host.context import Context
from installer.host.http_probe import Answer
from installer.host.system import System
from tests.rig.hang import ends
from tests.rig.httpservers import Page, serving
from tests.rig.needs import needs
from tests.rig.process import Daemon
from tests.rig.releases import context, root
from tests.rig.tlscerts import Authority

WEB = HealthCheck("http", "http://h/")
ANSWER = Answer(200, b'{"status":"ok"}', {"content-type": ("text/html", "application/json; charset=utf-8")})


@pytest.mark.parametrize(
    ("fields", "answer", "fault"),
    [
        ({}, ANSWER, ""),
        ({"statuses": ("204", "300-399")}, Answer(399, b""), ""),
        ({"statuses": ("204", "300-399")}, Answer(400, b""), "answered 400, expected 204 or 300-399"),
        ({"statuses": ("204", "300-399")}, Answer(299, b""), "answered 299, expected 204 or 300-399"),
        ({"status": 204}, ANSWER, "answered 200, expected 204"),
        (
            {},
            Answer(301, b"", {"location": ("http://u:p@h/login?token=abc",)}),
            "answered 301, expected 200; it redirects to http://h/login?token=***, which is not followed",
        ),
        ({"body": '"status":"ok"'}, ANSWER, ""),
        ({"body": '"ok": .*'}, ANSWER, "answered 200, but the body does not contain '\"ok\": .*'"),
        (
            {"body": "ok!"},
            replace(ANSWER, is_cut=True),
            "answered 200, but the first 64 KiB of the body does not contain 'ok!'",
        ),
        ({"headers": ("Content-Type: application/json",)}, ANSWER, ""),
        (
            {"headers": ("CONTENT-type: text/plain",)},
            ANSWER,
            "answered with CONTENT-type: text/html, expected 'text/plain' in it",
        ),
        ({"headers": ("X-Version: 1",)}, ANSWER, "answered without the header X-Version, expected '1' in it"),
    ],
)
def test_an_answer_is_compared_with_all_that_is_expected(
    fields: dict[str, object], answer: Answer, fault: str
) -> None:
    assert answer_fault(replace(WEB, **fields), answer) == fault  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "body", "fault", "said"),
    [
        ({"min": "1"}, '{"resultType":"vector","result":[{"value":[1,"1"]}]}', "", "the result is 1"),
        (
            {"min": "1", "max": "2"},
            '{"resultType":"vector","result":[{"value":[1,"2"]},{"value":[1,"1.5"]}]}',
            "",
            "the result is 2 and 1 more",
        ),
        (
            {"min": "1", "max": "2"},
            '{"resultType":"vector","result":[{"value":[1,"2"]},{"value":[1,"2.5"]}]}',
            "the result is 2.5, expected at least 1 and at most 2",
            "",
        ),
        ({"max": "2"}, '{"resultType":"scalar","result":[1,"3"]}', "the result is 3, expected at most 2", ""),
        ({"equals": "0"}, '{"resultType":"scalar","result":[1,"0"]}', "", "the result is 0"),
        ({"equals": "0"}, '{"resultType":"scalar","result":[1,"NaN"]}', "the result is nan, expected 0", ""),
        ({"min": "0"}, '{"resultType":"scalar","result":[1,"NaN"]}', "the result is nan, expected at", ""),
        ({"min": "1"}, '{"resultType":"scalar","result":[1,"+Inf"]}', "", "the result is inf"),
        ({"min": "1"}, '{"resultType":"vector","result":[]}', "the query has no result: no such series", ""),
        ({"min": "1"}, '{"resultType":"matrix","result":[]}', "the query has a matrix as its result", ""),
        ({"min": "1"}, '{"resultType":"vector","result":[{}]}', "answered 200, but not as a Prometheus", ""),
        ({"min": "1"}, "[]", "answered 200, but not as a Prometheus server does", ""),
    ],
)  # fmt: skip
def test_the_result_of_a_query_is_compared_with_its_limits(
    limits: dict[str, str], body: str, fault: str, said: str
) -> None:
    check = HealthCheck("prometheus", "http://h", query="x", **limits)  # type: ignore[arg-type]
    found = query_answer(check, Answer(200, f'{{"status":"success","data":{body}}}'.encode()))
    assert (found.fault[: len(fault)], bool(found.fault)) == (fault, bool(fault))
    assert fault or found.said == said


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"{}", b"[" * 60_000], ids=range(6))
def test_an_answer_of_another_server_is_no_result(body: bytes) -> None:
    check = HealthCheck("prometheus", "http://h", query="x", min="1")
    assert query_answer(check, Answer(200, body)).fault == "answered 200, but not as a Prometheus server does"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus server that watches itself."""
    folder = tmp_path_factory.mktemp("prometheus")
    with serving(Page()) as port:
        pass
    (folder / "p.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs: [{job_name: self, static_configs: "
        f"[{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    daemon = Daemon(
        [
            needs("prometheus"), f"--config.file={folder / 'p.yml'}",
            f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / 'data'}",
        ],
        folder / "log",
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def scraped() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{url}/api/v1/query?query=up") as answer:
            return b'"1"' in answer.read()
        return False

    daemon.wait_until(scraped, 60)
    yield url
    daemon.process.terminate()
    daemon.process.wait()


@pytest.mark.needs("prometheus")
def test_a_real_prometheus_answers(host: Context, prometheus: str) -> None:
    check = HealthCheck("prometheus", prometheus, query='up{job="self"}', min="1")
    assert ask(host, check) == probes.ProbeAnswer("", "the result is 1")
    assert ask(host, replace(check, query="vector(3) > bool 2", equals="1", min="")).fault == ""
    assert ask(host, replace(check, query="7")).said == "the result is 7"
    assert ask(host, replace(check, min="2")).fault == "the result is 1, expected at least 2"
    assert "no result" in ask(host, replace(check, query='up{job="none"}')).fault
    assert ask(host, replace(check, query="up{")).fault.startswith("the query failed: invalid parameter")
    assert "a matrix as its result" in ask(host, replace(check, query="up[1m]")).fault


UNIT = {
    "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success",
    "Type": "simple", "ExecMainCode": "0", "ExecMainStatus": "0", "NRestarts": "0",
    "ExecMainStartTimestampMonotonic": "1",
}  # fmt: skip
DONE = {"ActiveState": "inactive", "SubState": "dead", "Type": "oneshot"}


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ({}, ""),
        ({"ActiveState": "reloading"}, ""),
        ({"ActiveState": "activating"}, "is activating"),
        ({"ActiveState": "inactive"}, "is inactive"),
        (DONE, ""),
        ({**DONE, "ExecMainStartTimestampMonotonic": "0"}, "is inactive"),
        ({**DONE, "Result": "exit-code"}, "is inactive"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "there is no such unit"),
        ({"LoadState": "masked", "ActiveState": "inactive"}, "is masked"),
        (
            {"ActiveState": "failed", "Result": "exit-code", "ExecMainCode": "1", "ExecMainStatus": "3"},
            "is failed: exit status 3",
        ),
    ],
)
def test_what_is_wrong_with_a_unit_is_named(state: dict[str, str], fault: str) -> None:
    assert unit_fault(UNIT | state) == fault


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (HealthCheck("http", "http://h/x?a=1&api_token=secret&b"), "http http://h/x?a=1&api_token=***&b"),
        (HealthCheck("http", "http://h/", unix="/run/x.sock"), "http http://h/ at /run/x.sock"),
        (HealthCheck("prometheus", "http://h", query='up{job="a"}'), 'prometheus up{job="a"}'),
        (HealthCheck("unit", "chatd.service"), "unit chatd.service"),
        (HealthCheck("command", "", ("a", "b")), "command a b"),
    ],
)
def test_the_name_of_a_probe_has_no_secret_that_its_url_names(check: HealthCheck, name: str) -> None:
    assert probe_name(check) == name


def test_a_url_without_secrets_is_shown_as_it_was_written() -> None:
    for url in ("http://h/?q=%7Bx%7D&empty=&a", "http://[::1/", "http://h:80/p#f"):
        assert shown_url(url) == url


def test_tls_and_sockets_are_asked_as_the_probe_says(host: Context, tmp_path: Path) -> None:
    authority, files = Authority("site"), (tmp_path / "s.crt", tmp_path / "s.key")
    authority.issue("127.0.0.1", *files)
    (root(host) / "etc").mkdir(exist_ok=True)
    (root(host) / "etc/ca.pem").write_text(authority.pem)
    with serving(Page(204), tls=files) as port:
        check = HealthCheck("http", f"https://127.0.0.1:{port}/", statuses=("204",), ca="/etc/ca.pem")
        assert ask(host, check) == probes.ProbeAnswer("", "answered 204")
        assert "unknown CA: name a file" in ask(host, replace(check, ca="")).fault
        assert ask(host, replace(check, ca="/etc/none.pem")).fault.startswith("/etc/none.pem: No such file")
    with serving(Page(200), unix=root(host) / "etc/x.sock"):
        assert ask(host, HealthCheck("http", "http://h/", unix="/etc/x.sock")).fault == ""


def test_probes_are_asked_at_the_same_time_each_once(
    host: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each waits until all five have begun.
    monkeypatch.setattr(probes, "ONE_PROBE", 60.0)
    (tmp_path / "begun").mkdir()
    script = 'touch "$0/$$"; until [ "$(ls "$0" | wc -l)" = 5 ]; do sleep 0.05; done; echo why >&2; exit 3'
    slow = HealthCheck("command", "", ("sh", "-c", script, str(tmp_path / "begun")))
    page = Page(200)
    with serving(page) as port:
        found = ask_once(host, [*[slow] * 5, HealthCheck("http", f"http://127.0.0.1:{port}/")])
    assert page.asked == ["/"]
    assert [each.healthy for each in found] == [False] * 5 + [True]
    assert found[0].said == "exit status 3: why"
    assert found[5].said == "answered 200"


def test_a_probe_that_does_not_come_back_is_not_waited_for(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "ONE_PROBE", 0.1)
    answers = threading.Event()
    monkeypatch.setitem(probes._KINDS, "command", lambda *_: answers.wait())
    with ends():
        (found,) = ask_once(host, [HealthCheck("command", "", ("x",))])
    answers.set()
    assert (found.healthy, found.said) == (False, "no answer within 0.1 s")


def test_a_secret_that_a_probe_prints_is_hidden(host: Context) -> None:
    host.secrets.add(["hunter2-of-the-site"])
    check = HealthCheck("command", "", ("sh", "-c", "echo bad hunter2-of-the-site >&2; exit 1"))
    (found,) = ask_once(host, [check])
    assert "hunter2" not in found.said + found.name
    assert found.said == "exit status 1: bad ***"


def test_a_program_of_the_release_runs_from_below_the_root(host: Context) -> None:
    program = root(host) / "opt/chat/check"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "at $WAYBILL_ROOT" >&2\nexit 3\n')
    program.chmod(0o755)
    (found,) = ask_once(host, [HealthCheck("command", "", ("/opt/chat/check",))])
    assert f"at {root(host)}" in str(found)


def test_a_program_of_a_live_host_keeps_the_name_of_its_link(tmp_path: Path) -> None:
    (tmp_path / "multi-call").write_text('#!/bin/sh\necho "as ${0##*/}" >&2\nexit 3\n')
    (tmp_path / "multi-call").chmod(0o755)
    (tmp_path / "check").symlink_to("multi-call")
    live = context(System("/"))
    (found,) = ask_once(live, [HealthCheck("command", "", (str(tmp_path / "check"),))])
    assert "as check" in str(found)
