#!/usr/bin/env python3
"""Runs a command for each message of Alertmanager, which itself runs none: a pager, an SMS modem, a siren.

    alert-command.py [--listen 127.0.0.1:9095] [--timeout 60] [--json] -- /usr/local/bin/page-operator WORD...

The command gets one line for each alert on stdin, `firing critical WaybillNotUndone host-1: SUMMARY`, or with
--json the message as Alertmanager sent it. It is run without a shell, one at a time, and killed after the
timeout with everything that it started. Only if it exits with 0, Alertmanager gets 200. Otherwise it gets 500
or 504, and repeats the message. Needs Python 3.9 or later and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

LARGEST = 1024 * 1024  # bytes of one message
LONGEST = 500  # characters of one line: a pager shows no more


def lines(document: dict) -> str:
    """Return one line for each alert, without control characters: labels may come from anywhere."""
    found = []
    for alert in document["alerts"]:
        labels, notes = alert.get("labels", {}), alert.get("annotations", {})
        words = [alert["status"], *(labels.get(name, "") for name in ("severity", "alertname", "instance"))]
        text = " ".join(word for word in words if word) + ": " + notes.get("summary", "")
        found.append("".join(letter if letter.isprintable() else " " for letter in text)[:LONGEST])
    return "".join(f"{line}\n" for line in found)


class Server(HTTPServer):
    """One connection at a time: so is the command."""

    def __init__(self, address: tuple[str, int], options: argparse.Namespace) -> None:
        self.address_family = 10 if ":" in address[0] else 2  # AF_INET6, AF_INET
        super().__init__(address, Handler)
        self.options = options


class Handler(BaseHTTPRequestHandler):
    """Answers a POST."""

    timeout = 10  # for a client that says nothing
    server: Server

    def do_POST(self) -> None:
        """Run the command for one message."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > LARGEST:
            return self.answer(413, f"a message needs a Content-Length of at most {LARGEST}")
        body = self.rfile.read(int(length))
        try:
            text = body.decode() if self.server.options.json else lines(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self.answer(400, f"not a message of Alertmanager: {type(error).__name__}: {error}")
        return self.answer(*run(self.server.options.command, text, self.server.options.timeout))

    def answer(self, code: int, text: str) -> None:
        """Answer with a line of text."""
        self.log_message("%s", f"{code} {text}")
        data = f"{text}\n".encode()
        self.send_response_only(code)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)


def run(command: list[str], text: str, timeout: float) -> tuple[int, str]:
    """Run the command; return the status of the answer and a line that says how it ended."""
    try:
        # Of its own session: what it started is ended with it. Its output goes to the journal.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
    except OSError as error:
        return 500, f"{command[0]}: {error.strerror}"
    try:
        process.communicate(text, timeout)
    except subprocess.TimeoutExpired:
        return 504, f"{command[0]}: killed after {timeout:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    code = process.returncode
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return (200, f"{command[0]}: done") if code == 0 else (500, f"{command[0]}: {how}")


def main() -> None:
    """Listen until the process is ended."""
    parser = argparse.ArgumentParser(description="Runs a command for each message of Alertmanager.")
    parser.add_argument("--listen", default="127.0.0.1:9095", metavar="ADDRESS:PORT")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="give the command the message, not lines")
    parser.add_argument("command", nargs="+", metavar="-- COMMAND ARGUMENT...")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    host = host.strip("[]")
    try:
        # Nobody is asked for a password here: whoever reaches the port can wake the operator.
        if not ipaddress.ip_address(host).is_loopback:
            parser.error(f"--listen {options.listen}: only addresses of the loopback interface are taken")
    except ValueError:
        parser.error(f"--listen {options.listen}: write an address and a port, such as 127.0.0.1:9095")
    if not options.command[0].startswith("/") or not os.access(options.command[0], os.X_OK):
        parser.error(f"{options.command[0]}: is no absolute path of a program that this user may run")
    try:
        server = Server((host, int(port)), options)
    except (OSError, ValueError, OverflowError) as error:
        parser.error(f"--listen {options.listen}: {error}")
    sys.stderr.write(f"listening on {options.listen}\n")
    sys.stderr.flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main()
