"""The command of the pager: run for each message, without a shell, and never for anybody else."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rig.engine import wait_for
from tests.rig.machine import is_running
from tests.rig.process import Daemon

PROGRAM = Path(__file__).parents[2] / "templates/monitoring/alert-command.py"
ALERT = {
    "status": "firing",
    "labels": {"severity": "critical", "alertname": "HostDown", "instance": "host-1"},
    "annotations": {"summary": "host-1: gone"},
}
Start = Callable[..., Callable[..., tuple[int, str]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the receiver with options and a script as its command; returns what posts to it."""
    running = []

    def launch(script: str, *options: str) -> Callable[..., tuple[int, str]]:
        command = tmp_path / "command"
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{found.getsockname()[1]}"
        log = tmp_path / "log"
        words = [sys.executable, "-I", str(PROGRAM), "--listen", address, *options]
        daemon = Daemon([*words, "--", str(command), "$(reboot)"], log)
        running.append(daemon)
        daemon.wait_until(lambda: "listening" in log.read_text(), 60)

        def post(body: Any, **headers: str) -> tuple[int, str]:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            request = urllib.request.Request(f"http://{address}/", data, headers)
            try:
                with urllib.request.urlopen(request) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        return post

    yield launch
    for daemon in running:
        daemon.stop()


def test_the_command_gets_a_line_for_each_alert_and_its_arguments_as_they_are(start, tmp_path) -> None:
    post = start(f'printf "%s\\n" "$@" > {tmp_path}/words; cat > {tmp_path}/text')
    resolved = {**ALERT, "status": "resolved", "annotations": {"summary": "x\n\x1b[2Jy" + "z" * 1000}}
    assert post({"alerts": [ALERT, resolved]})[0] == 200
    first, second = (tmp_path / "text").read_text().splitlines()
    assert first == "firing critical HostDown host-1: host-1: gone"
    assert second.startswith("resolved critical HostDown host-1: x  [2Jyzz")
    assert len(second) == 500
    assert (tmp_path / "words").read_text() == "$(reboot)\n"


def test_the_command_gets_the_message_with_json(start, tmp_path) -> None:
    post = start(f"cat > {tmp_path}/text", "--json")
    assert post({"alerts": [ALERT], "receiver": "pager"})[0] == 200
    assert json.loads((tmp_path / "text").read_text())["receiver"] == "pager"


def test_a_command_that_fails_makes_alertmanager_repeat_the_message(start) -> None:
    code, said = start("exit 7")({"alerts": [ALERT]})
    assert (code, said.endswith("command: exit code 7\n")) == (500, True)


def test_a_command_that_hangs_is_killed_with_what_it_started(start, tmp_path) -> None:
    post = start(f"sleep 1000 & echo $! > {tmp_path}/pid; wait", "--timeout", "1")
    code, said = post({"alerts": [ALERT]})
    assert (code, "killed after 1 s" in said) == (504, True)
    child = int((tmp_path / "pid").read_text())
    # The signal was sent; on a busy machine the process dies a moment later.
    wait_for("end of what it started", lambda: not is_running(child), 60)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"not json", 400),
        (b"[]", 400),
        ({"alerts": [{"labels": {}}]}, 400),
        ({"alerts": [{**ALERT, "labels": []}]}, 400),
        (b"[" * 100_000, 400),
        (b"x" * (1024 * 1024 + 1), 413),
    ],
    ids=["no JSON", "no object", "no status", "labels that are a list", "too deep", "too large"],
)
def test_a_message_that_is_none_runs_nothing_and_the_next_one_is_taken(start, tmp_path, body, code) -> None:
    post = start(f"echo run >> {tmp_path}/runs")
    if code == 413:
        # Refused before it is read: the connection may be closed while it is sent.
        with contextlib.suppress(urllib.error.URLError):
            assert post(body)[0] == code
    else:
        assert post(body)[0] == code
    assert not (tmp_path / "runs").exists()
    assert post({"alerts": [ALERT]})[0] == 200
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--listen", "0.0.0.0:9095", "--", "/bin/true"), "only addresses of the loopback interface"),
        (("--listen", "localhost", "--", "/bin/true"), "write an address and a port"),
        (("--listen", "127.0.0.1:x", "--", "/bin/true"), "invalid literal"),
        (("--", "true"), "no absolute path of a program"),
        (("--", "/etc/passwd"), "no absolute path of a program"),
        ((), "required: -- COMMAND"),
    ],
    ids=["an open address", "no address", "no port", "a relative path", "no program", "no command"],
)
def test_a_wrong_command_line_is_refused_with_the_reason(words: tuple[str, ...], reason: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
