"""Where alerts go to: an HTTPS server and a mail server with STARTTLS, each a program of its own.

    python -m tests.rig.alertsinks chat|mail ADDRESS PORT DIRECTORY

DIRECTORY has cert.pem and key.pem, and gets what arrives: chat.jsonl, mail.txt. While it has a file `slow`,
the HTTPS server does not answer.
"""

from __future__ import annotations

import contextlib
import socketserver
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOME = Path()


def context() -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(HOME / "cert.pem", HOME / "key.pem")
    return found


class Chat(BaseHTTPRequestHandler):
    """Takes messages of Alertmanager."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if (HOME / "slow").exists():
            while (HOME / "slow").exists():
                time.sleep(0.1)
            return  # without an answer
        with (HOME / "chat.jsonl").open("ab") as file:
            file.write(body.strip() + b"\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Mail(socketserver.StreamRequestHandler):
    """Takes mails: as much of RFC 5321 and 3207 as a client needs."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self._talk()

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def _talk(self) -> None:
        self._say("220 mail.lan")
        encrypted = False
        while line := self.rfile.readline(4096):
            word = line.split(maxsplit=1)[0].upper() if line.strip() else b""
            if word == b"EHLO":
                self._say("250-mail.lan" if not encrypted else "250 mail.lan")
                if not encrypted:
                    self._say("250 STARTTLS")
            elif word == b"STARTTLS":
                self._say("220 go on")
                wrapped = context().wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile, encrypted = wrapped.makefile("rb"), wrapped.makefile("wb", 0), True
            elif word == b"DATA" and encrypted:
                self._say("354 go on")
                lines = list(iter(self.rfile.readline, b".\r\n"))
                with (HOME / "mail.txt").open("ab") as file:
                    file.writelines(lines)
                self._say("250 taken")
            elif word == b"QUIT":
                self._say("221 bye")
                return
            else:
                # Before TLS nothing is taken.
                self._say("250 fine" if encrypted else "530 STARTTLS first")


class Threading(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = daemon_threads = True


def main() -> None:
    global HOME  # noqa: PLW0603
    what, address, port, home = sys.argv[1:]
    HOME = Path(home)
    if what == "mail":
        Threading((address, int(port)), Mail).serve_forever()
    server = ThreadingHTTPServer((address, int(port)), Chat)
    server.socket = context().wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
