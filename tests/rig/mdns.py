"""Two network namespaces with one link between them: avahi, or something hostile, on one side, a host on the
other.

The daemon of Debian announces services from files. It insists on a user and on places in /etc and /run: a
mount namespace has them, so that nothing on this machine is touched.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.rig.needs import needs
from tests.rig.process import Daemon

TOP = Path(__file__).resolve().parents[2]
SERVICE = "_lan-chat._tcp"
SERVER, CLIENT = "198.19.77.1", "198.19.77.2"
CONFIG = """\
[server]
host-name=node-1
domain-name=local
use-ipv4=yes
use-ipv6=yes
enable-dbus=no
allow-interfaces=eth0
ratelimit-burst=100000
[publish]
publish-workstation=no
"""
GROUP = """\
<?xml version="1.0" standalone='no'?><!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group><name>{name}</name><service><type>{type}</type><port>{port}</port>{texts}</service></service-group>
"""
STARTED = 'mount -t tmpfs tmpfs /run; mkdir /run/avahi-daemon; mount --bind "$0" /etc; exec "$@"'


@dataclass(frozen=True, slots=True)
class Link:
    """The link: names of the two namespaces. Both have it as `eth0`."""

    server: str
    client: str
    home: Path

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Has this thread, and those that it starts, be where the host is."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as own, open(f"/run/netns/{self.client}") as other:
            _enter(libc, other.fileno())
            try:
                yield
            finally:
                _enter(libc, own.fileno())

    @contextmanager
    def avahi(self, *services: tuple[str, int, Mapping[str, str]]) -> Iterator[None]:
        """Announces services of the type SERVICE: name, port, texts."""
        daemon, libraries = needs("avahi"), Path(needs("avahi")).parents[1] / "lib"
        etc = self.home / "etc"
        shutil.rmtree(etc, ignore_errors=True)
        (etc / "avahi/services").mkdir(parents=True)
        (etc / "passwd").write_text("root:x:0:0::/:/bin/sh\navahi:x:64990:64990::/:/bin/false\n")
        (etc / "group").write_text("root:x:0:\navahi:x:64990:\n")
        (etc / "avahi/avahi-daemon.conf").write_text(CONFIG)
        for number, (name, port, texts) in enumerate(services):
            rows = "".join(f"<txt-record>{key}={value}</txt-record>" for key, value in texts.items())
            text = GROUP.format(name=name, type=SERVICE, port=port, texts=rows)
            (etc / f"avahi/services/{number}.service").write_text(text)
        log = self.home / "avahi.log"
        log.unlink(missing_ok=True)
        found = ":".join(str(each) for each in (*libraries.glob("*-linux-gnu"), libraries))
        words = ["ip", "netns", "exec", self.server, "unshare", "-m", "sh", "-ec", STARTED, str(etc)]
        words += [daemon, "--no-drop-root", "--no-chroot", "--no-proc-title"]
        running = Daemon(words, log, {**os.environ, "LD_LIBRARY_PATH": found})
        try:
            ready = [f'Service "{name}"' for name, _, _ in services] or ["startup complete"]
            running.wait_until(lambda: _said(log, ready), 60)
            yield
        finally:
            running.stop()

    @contextmanager
    def responder(self, code: str, *words: str) -> Iterator[None]:
        """Answers every question by `answers(question, number)`, which `code` defines: packets as bytes."""
        log = self.home / "responder.log"
        log.unlink(missing_ok=True)
        command = ["ip", "netns", "exec", self.server, sys.executable, "-c", code + RESPONDER, *words]
        running = Daemon(command, log, {**os.environ, "PYTHONPATH": str(TOP), "PYTHONUNBUFFERED": "1"})
        try:
            running.wait_until(lambda: _said(log, ["ready"]), 60)
            yield
        finally:
            running.stop()


RESPONDER = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 5353))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
             struct.pack("=4s4s", socket.inet_aton("224.0.0.251"), socket.inet_aton("198.19.77.1")))
s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, globals().get("TTL", 255))
print("ready")
while True:
    data, source = s.recvfrom(9000)
    for packet in answers(data, struct.unpack("!H", data[:2])[0]):
        s.sendto(packet, source)
"""


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


def _said(log: Path, texts: Sequence[str]) -> bool:
    text = log.read_text(errors="replace") if log.exists() else ""
    return all(each in text for each in texts)


@contextmanager
def link() -> Iterator[Link]:
    """Makes the link, and removes it."""
    needs("netns")
    home = Path(tempfile.mkdtemp(prefix="waybill-mdns-"))
    made = Link(f"wbs{os.getpid()}", f"wbc{os.getpid()}", home)

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        for name in (made.server, made.client):
            ip("netns", "add", name)
        ip(
            *("link", "add", "eth0", "netns", made.server, "type", "veth"),
            *("peer", "name", "eth0", "netns", made.client),
        )
        for name, address in ((made.server, SERVER), (made.client, CLIENT)):
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "route", "add", "224.0.0.0/4", "dev", "eth0")
        yield made
    finally:
        for name in (made.server, made.client):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)
